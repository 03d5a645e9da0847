//! The sections that several services' configuration files share.
//!
//! Unknown keys are errors, secrets are named by the path of a file, and what is parsed is valid:
//! nothing reads the file or the environment later.

use std::{path::PathBuf, time::Duration};

use hsmd_chain::Anchor;
use hsmd_client::{ConnectOptions, TlsOptions};
use hsmd_runtime::ConfigError;
use hsmd_store::{ClientFiles, Store};
use hsmd_support::{duration, secret};
use serde::{Deserialize, Deserializer};

/// `[hsm]`: whose key log is trusted, and where its daemon is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsmConfig {
    /// The HSM's identity, perhaps with a recent head: `E…` or `E…@<sequence>:<event id>`. There is no
    /// default: it is what everything else is verified against.
    #[serde(deserialize_with = "parsed")]
    pub identity: Anchor,
    /// hsmd's service listener: `unix:///path`, or `https://host:port` with the section `tls`. A
    /// service that has a key endorsed needs it.
    pub endpoint: Option<String>,
    /// A keys service, `http://host:port`, from which the key log is read instead of from hsmd: for
    /// services that cannot reach hsmd.
    pub log_url: Option<String>,
    /// The files of mutual TLS.
    pub tls: Option<TlsConfig>,
    /// A file that keeps the verified log, so that a restart does not forget how far it went.
    pub log_file: Option<PathBuf>,
    /// How long the last authenticated contact may lie back before nothing is believed any more.
    #[serde(default = "default_staleness", deserialize_with = "duration")]
    pub max_staleness: Duration,
    /// How far ahead of our clock an event may lie.
    #[serde(default = "default_skew", deserialize_with = "duration")]
    pub clock_skew: Duration,
    /// Whether our keys' endorsements may come as leaves of a batch: only where all who read them in
    /// Redis know that form.
    #[serde(default)]
    pub batch: bool,
}

/// `[hsm.tls]`: the PEM files of mutual TLS. They are read again when they change.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The authority that issued the daemon's certificate.
    pub ca_file: PathBuf,
    /// Our certificate chain.
    pub certificate_file: PathBuf,
    /// Our private key.
    pub key_file: PathBuf,
    /// The name that the daemon's certificate must carry, if not the endpoint's host.
    pub server_name: Option<String>,
}

/// `[redis]`: where Redis is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// `redis://host[:port]`, `rediss://host[:port]` or `unix:///path`.
    pub url: String,
    /// The files of TLS, for `rediss`.
    pub tls: Option<RedisTlsConfig>,
    /// The ACL user's name, if there is one.
    pub username: Option<String>,
    /// A file that holds the password, if there is one.
    pub password_file: Option<PathBuf>,
    /// How long one operation may take, connecting included.
    #[serde(default = "default_redis_timeout", deserialize_with = "duration")]
    pub timeout: Duration,
}

/// `[redis.tls]`: the PEM files of TLS to Redis. They are read again when they change.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisTlsConfig {
    /// The authority that issued Redis' certificate.
    pub ca_file: PathBuf,
    /// Our certificate chain, for a Redis that wants one.
    pub certificate_file: Option<PathBuf>,
    /// Its private key.
    pub key_file: Option<PathBuf>,
    /// The name that Redis' certificate must carry, if not the URL's host.
    pub server_name: Option<String>,
}

impl HsmConfig {
    /// How to connect to the daemon, if there is an endpoint.
    #[must_use]
    pub fn connect_options(&self) -> Option<ConnectOptions> {
        let options = ConnectOptions::new(self.endpoint.as_ref()?);
        Some(match &self.tls {
            None => options,
            Some(tls) => options.tls(TlsOptions {
                ca_file: tls.ca_file.clone(),
                certificate_file: tls.certificate_file.clone(),
                key_file: tls.key_file.clone(),
                server_name: tls.server_name.clone(),
            }),
        })
    }
}

impl RedisConfig {
    /// The store, not yet connected.
    ///
    /// # Errors
    /// [`ConfigError::Secret`] for the password's file, [`ConfigError::Section`] for the rest.
    pub fn open(&self) -> Result<Store, ConfigError> {
        let password = self.password_file.as_deref().map(secret::line).transpose()?;
        Store::open(&hsmd_store::Options {
            url: self.url.clone(),
            tls: self.tls.as_ref().map(RedisTlsConfig::options).transpose()?,
            username: self.username.clone(),
            password,
            timeout: self.timeout,
        })
        .map_err(|error| ConfigError::section("redis", error))
    }
}

impl RedisTlsConfig {
    fn options(&self) -> Result<hsmd_store::TlsOptions, ConfigError> {
        let client = match (&self.certificate_file, &self.key_file) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                Some(ClientFiles { certificate_file: certificate.clone(), key_file: key.clone() })
            }
            _ => {
                let text = "certificate_file and key_file come together";
                return Err(ConfigError::section("redis.tls", text));
            }
        };
        Ok(hsmd_store::TlsOptions {
            ca_file: self.ca_file.clone(),
            client,
            server_name: self.server_name.clone(),
        })
    }
}

fn parsed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Anchor, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn default_staleness() -> Duration {
    Duration::from_secs(60)
}

fn default_skew() -> Duration {
    Duration::from_secs(5)
}

fn default_redis_timeout() -> Duration {
    Duration::from_millis(500)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const HSM: &str = "identity = \"EK62QNCH2vdPKOVxJNo4CW3EGgzgBukhFAQ-JM8iG033\"\n\
                       endpoint = \"unix:///run/hsmd/service.sock\"\n";

    #[test]
    fn there_is_no_service_without_an_identity() {
        toml::from_str::<HsmConfig>(HSM).unwrap();
        let without = HSM.lines().nth(1).unwrap();
        let error = toml::from_str::<HsmConfig>(without).unwrap_err();
        assert!(error.message().contains("identity"), "{error}");
        let garbled = HSM.replace("EK62", "EK6");
        assert!(toml::from_str::<HsmConfig>(&garbled).is_err());
    }

    #[test]
    fn unknown_keys_and_durations_without_a_unit_are_refused() {
        assert!(toml::from_str::<HsmConfig>(&format!("{HSM}max_stale = \"1s\"")).is_err());
        assert!(toml::from_str::<HsmConfig>(&format!("{HSM}max_staleness = 60")).is_err());
        let config: HsmConfig = toml::from_str(&format!("{HSM}max_staleness = \"2m\"")).unwrap();
        assert_eq!(config.max_staleness, Duration::from_secs(120));
    }

    #[test]
    fn a_password_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("redis.password");
        std::fs::write(&path, "hunter2\n").unwrap();
        let text = format!("url = \"redis://h\"\npassword_file = {path:?}");
        let config: RedisConfig = toml::from_str(&text).unwrap();
        for (mode, accepted) in [(0o644, false), (0o640, true), (0o600, true)] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(config.open().is_ok(), accepted, "{mode:o}");
        }
    }

    #[tokio::test]
    async fn the_log_may_come_from_elsewhere_but_an_endorsement_needs_the_daemon() {
        let only = |line: &str| -> HsmConfig {
            toml::from_str(&format!("{}\n{line}", HSM.lines().next().unwrap())).unwrap()
        };
        let url = only("log_url = \"http://127.0.0.1:1\"");
        assert!(crate::follow_log(&url).is_ok());
        let error = crate::Hsm::connect(&url).map(drop).unwrap_err();
        let text = hsmd_support::chain(&error);
        assert_eq!(text, "the section [hsm] is not valid: `endpoint` is missing");
        for config in [only(""), only("log_url = \"https://h\""), only("log_url = \"h\"")] {
            assert!(crate::follow_log(&config).is_err());
        }
        assert!(crate::Hsm::connect(&toml::from_str(HSM).unwrap()).is_ok());
    }

    #[test]
    fn a_redis_url_with_a_password_is_refused() {
        for url in [
            "redis://:secret@h",
            "redis://h/3",
            "rediss://h",
            "rediss:///s",
            "http://h",
            "unix:///s?db=2",
        ] {
            let config: RedisConfig = toml::from_str(&format!("url = \"{url}\"")).unwrap();
            assert!(
                matches!(config.open(), Err(ConfigError::Section { section: "redis", .. })),
                "{url}"
            );
        }
    }
}
