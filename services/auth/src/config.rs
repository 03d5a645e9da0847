//! auth.toml. Every setting is documented in `auth.example.toml`, which a test parses.

use std::{path::PathBuf, time::Duration};

use hsmd_protocol::server;
use hsmd_runtime::{HttpConfig, LogConfig};
use hsmd_service::{
    KeyLifetime,
    config::{HsmConfig, RedisConfig},
};
use hsmd_support::{duration, proxy::Network, size};
use serde::Deserialize;

/// Everything in auth.toml.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen.
    pub http: HttpConfig,
    /// Who endorses our keys, and whom we believe about others'.
    pub hsm: HsmConfig,
    /// Where endorsements, revocations and used hashes are copied to.
    pub redis: RedisConfig,
    /// Where accounts are.
    pub database: DatabaseConfig,
    /// How long our keys' endorsements hold.
    #[serde(default)]
    pub keys: KeysConfig,
    /// How long what we issue is good for.
    #[serde(default)]
    pub lifetimes: LifetimesConfig,
    /// How much is accepted.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Log output.
    #[serde(default)]
    pub log: LogConfig,
}

/// `[database]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// A file that holds the Postgres URL.
    pub url_file: PathBuf,
    /// How many connections are used at the most.
    #[serde(default = "ten")]
    pub max_connections: u32,
    /// How long a request waits for a connection, and how long one statement may take.
    #[serde(default = "three_seconds", deserialize_with = "duration")]
    pub timeout: Duration,
}

/// `[keys]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeysConfig {
    /// The access key, which signs tokens.
    #[serde(deserialize_with = "duration")]
    pub access: Duration,
    /// The response key, which signs replies.
    #[serde(deserialize_with = "duration")]
    pub response: Duration,
}

/// `[lifetimes]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LifetimesConfig {
    /// An access token.
    #[serde(deserialize_with = "duration")]
    pub access: Duration,
    /// A session, however often it is refreshed.
    #[serde(deserialize_with = "duration")]
    pub refresh: Duration,
    /// A challenge.
    #[serde(deserialize_with = "duration")]
    pub challenge: Duration,
}

/// `[limits]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// The longest request.
    #[serde(deserialize_with = "size")]
    pub body: usize,
    /// Challenges for one identity in a minute; 0 for any number.
    pub challenges_per_minute: u32,
    /// Requests of all kinds in a second; 0 for any number.
    pub requests_per_second: u32,
    /// The same for one client address; 0 for any number.
    pub requests_per_second_per_address: u32,
    /// The proxies whose `X-Forwarded-For` says which address that is.
    pub trusted_proxies: Vec<Network>,
}

impl KeysConfig {
    /// The access key's endorsement, which Redis keeps exactly as long as it holds.
    pub(crate) fn access(self) -> KeyLifetime {
        KeyLifetime { ttl: self.access, keep: Duration::ZERO }
    }

    /// The response key's, which Redis keeps a minute longer.
    pub(crate) fn response(self) -> KeyLifetime {
        KeyLifetime { ttl: self.response, keep: Duration::from_secs(60) }
    }
}

impl From<LifetimesConfig> for server::Lifetimes {
    fn from(config: LifetimesConfig) -> Self {
        let LifetimesConfig { access, refresh, challenge } = config;
        Self { access, refresh, challenge }
    }
}

impl Default for KeysConfig {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(60 * 60);
        Self { access: 24 * HOUR, response: 12 * HOUR }
    }
}

impl Default for LifetimesConfig {
    fn default() -> Self {
        let server::Lifetimes { access, refresh, challenge } = server::Lifetimes::default();
        Self { access, refresh, challenge }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            body: 16 * 1024,
            challenges_per_minute: 600,
            requests_per_second: 1000,
            requests_per_second_per_address: 500,
            trusted_proxies: Vec::new(),
        }
    }
}

fn ten() -> u32 {
    10
}

fn three_seconds() -> Duration {
    Duration::from_secs(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../auth.example.toml");

    #[test]
    fn the_example_is_valid_and_shows_the_defaults() {
        let config: Config = toml::from_str(EXAMPLE).unwrap();
        assert_eq!(config.http.listen.port(), 8011);
        assert!(config.redis.open().is_ok());
        let named = |section: &str| EXAMPLE.find(&format!("\n[{section}]")).unwrap();
        let (keys, log) = (named("keys"), named("log"));
        let without = format!("{}{}", &EXAMPLE[..keys], &EXAMPLE[log..]);
        let defaults: Config = toml::from_str(&without).unwrap();
        assert_eq!(format!("{:?}", config.keys), format!("{:?}", defaults.keys));
        assert_eq!(format!("{:?}", config.lifetimes), format!("{:?}", defaults.lifetimes));
        assert_eq!(format!("{:?}", config.limits), format!("{:?}", defaults.limits));
    }

    #[test]
    fn without_an_identity_there_is_no_service() {
        let without: Vec<_> =
            EXAMPLE.lines().filter(|line| !line.starts_with("identity")).collect();
        let error = toml::from_str::<Config>(&without.join("\n")).unwrap_err();
        assert!(error.message().contains("identity"), "{error}");
        assert!(toml::from_str::<Config>(&format!("{EXAMPLE}\nverbose = true")).is_err());
    }
}
