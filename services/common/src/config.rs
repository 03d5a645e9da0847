//! The sections that several services' configuration files share, and how a file is read.
//!
//! Unknown keys are errors, secrets are named by the path of a file, and what is parsed is valid:
//! nothing reads the file or the environment later.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use hsmd_chain::Anchor;
use hsmd_client::{ConnectOptions, TlsOptions};
use hsmd_store::{Store, StoreError};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use zeroize::Zeroizing;

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file can't be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML of the documented shape.
    #[error("the configuration {path} is not valid:\n{message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the parser says, with line and column.
        message: String,
    },
    /// A file that should hold a secret is empty.
    #[error("{0} is empty")]
    EmptySecret(PathBuf),
    /// The Redis section names no Redis that we can use.
    #[error("the section [redis] is not valid")]
    Redis(#[source] StoreError),
}

/// Reads a TOML file. `T` should refuse unknown fields.
///
/// # Errors
/// The file can't be read or is not what `T` wants.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.into(), source })?;
    toml::from_str(&text)
        .map_err(|error| ConfigError::Parse { path: path.into(), message: error.to_string() })
}

/// Reads a file that holds one secret on one line, without its line end.
///
/// # Errors
/// The file can't be read or is empty.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|source| ConfigError::Read { path: path.into(), source })?;
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() {
        return Err(ConfigError::EmptySecret(path.into()));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

/// `[http]`: where the service listens, and its bounds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Where to listen for HTTP; port 0 takes a free one, which the log names.
    pub listen: SocketAddr,
    /// How long accepted requests may take to finish after SIGTERM.
    #[serde(default = "default_stop_grace", deserialize_with = "duration")]
    pub stop_grace: Duration,
    /// How many connections are served at once; further ones wait.
    #[serde(default = "default_connections")]
    pub max_connections: usize,
    /// How long one request may take, reading it included.
    #[serde(default = "default_request_timeout", deserialize_with = "duration")]
    pub request_timeout: Duration,
}

/// `[log]`: log output on standard error.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// For people or for machines.
    pub format: LogFormat,
    /// In the syntax of tracing-subscriber's `EnvFilter`.
    pub filter: String,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line for each entry.
    Text,
    /// One JSON object for each entry.
    Json,
}

/// `[hsm]`: whose key log is trusted, and where its daemon is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsmConfig {
    /// The HSM's identity, perhaps with a recent head: `E…` or `E…@<sequence>:<event id>`. There is no
    /// default: it is what everything else is verified against.
    #[serde(deserialize_with = "parsed")]
    pub identity: Anchor,
    /// hsmd's service listener: `unix:///path`, or `https://host:port` with the section `tls`.
    pub endpoint: String,
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
}

/// `[hsm.tls]`: the PEM files of mutual TLS.
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
    /// `redis://host[:port]` or `unix:///path`.
    pub url: String,
    /// The ACL user's name, if there is one.
    pub username: Option<String>,
    /// A file that holds the password, if there is one.
    pub password_file: Option<PathBuf>,
    /// How long one operation may take, connecting included.
    #[serde(default = "default_redis_timeout", deserialize_with = "duration")]
    pub timeout: Duration,
}

impl HsmConfig {
    /// How to connect to the daemon.
    #[must_use]
    pub fn connect_options(&self) -> ConnectOptions {
        let options = ConnectOptions::new(&self.endpoint);
        match &self.tls {
            None => options,
            Some(tls) => options.tls(TlsOptions {
                ca_file: tls.ca_file.clone(),
                certificate_file: tls.certificate_file.clone(),
                key_file: tls.key_file.clone(),
                server_name: tls.server_name.clone(),
            }),
        }
    }
}

impl RedisConfig {
    /// The store, not yet connected.
    ///
    /// # Errors
    /// The password file can't be read, or the URL can't be used.
    pub fn open(&self) -> Result<Store, ConfigError> {
        let password = self.password_file.as_deref().map(read_secret).transpose()?;
        Store::open(&hsmd_store::Options {
            url: self.url.clone(),
            username: self.username.clone(),
            password,
            timeout: self.timeout,
        })
        .map_err(ConfigError::Redis)
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".into() }
    }
}

/// A duration in the syntax of humantime, like "12h" or "500ms"; for `deserialize_with`.
///
/// # Errors
/// The text is no duration.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(serde::de::Error::custom)
}

fn parsed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Anchor, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn default_stop_grace() -> Duration {
    Duration::from_secs(10)
}

fn default_request_timeout() -> Duration {
    Duration::from_secs(10)
}

fn default_connections() -> usize {
    1024
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
    fn a_secret_is_one_line_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("redis.password");
        std::fs::write(&path, "hunter2\n").unwrap();
        assert_eq!(*read_secret(&path).unwrap(), "hunter2");
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(read_secret(&path), Err(ConfigError::EmptySecret(_))));
    }

    #[test]
    fn a_redis_url_with_a_password_is_refused() {
        for url in ["redis://:secret@h", "redis://h/3", "rediss://h", "http://h", "unix:///s?db=2"]
        {
            let config: RedisConfig = toml::from_str(&format!("url = \"{url}\"")).unwrap();
            assert!(matches!(config.open(), Err(ConfigError::Redis(_))), "{url}");
        }
    }
}
