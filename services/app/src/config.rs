//! app.toml. Every setting is documented in `app.example.toml`, which a test parses.

use std::time::Duration;

use hsmd_protocol::access::AccessWindow;
use hsmd_runtime::{HttpConfig, LogConfig};
use hsmd_service::{
    KeyLifetime,
    config::{HsmConfig, RedisConfig},
};
use hsmd_support::{duration, size};
use serde::Deserialize;

/// Everything in app.toml.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What the replies call this server.
    #[serde(default = "default_server_name")]
    pub server_name: String,
    /// Where to listen.
    pub http: HttpConfig,
    /// Who endorses our key, and whom we believe about others'.
    pub hsm: HsmConfig,
    /// Where endorsements, revocations and nonces are.
    pub redis: RedisConfig,
    /// How long our key's endorsements hold.
    #[serde(default)]
    pub keys: KeysConfig,
    /// Which requests are served.
    #[serde(default)]
    pub access: AccessConfig,
    /// Log output.
    #[serde(default)]
    pub log: LogConfig,
}

/// `[keys]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeysConfig {
    /// The response key, which signs replies.
    #[serde(deserialize_with = "duration")]
    pub response: Duration,
}

/// `[access]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessConfig {
    /// How old a request may be.
    #[serde(deserialize_with = "duration")]
    pub window: Duration,
    /// How far in the future requests and tokens may lie.
    #[serde(deserialize_with = "duration")]
    pub clock_skew: Duration,
    /// The longest request.
    #[serde(deserialize_with = "size")]
    pub max_body: usize,
}

impl KeysConfig {
    /// The response key's endorsement, which Redis keeps a minute longer than it holds.
    pub(crate) fn response(self) -> KeyLifetime {
        KeyLifetime { ttl: self.response, keep: Duration::from_secs(60) }
    }
}

impl Default for KeysConfig {
    fn default() -> Self {
        Self { response: Duration::from_secs(12 * 60 * 60) }
    }
}

impl Default for AccessConfig {
    fn default() -> Self {
        let AccessWindow { age, clock_skew } = AccessWindow::default();
        Self { window: age, clock_skew, max_body: 64 * 1024 }
    }
}

fn default_server_name() -> String {
    "rust".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../app.example.toml");

    #[test]
    fn the_example_is_valid_and_names_the_defaults() {
        let config: Config = toml::from_str(EXAMPLE).unwrap();
        assert_eq!(config.http.listen.port(), 8020);
        assert_eq!(config.access.window, AccessConfig::default().window);
        assert_eq!(config.access.clock_skew, AccessConfig::default().clock_skew);
        assert_eq!(config.access.max_body, AccessConfig::default().max_body);
        assert_eq!(config.keys.response, KeysConfig::default().response);
        assert_eq!(config.server_name, default_server_name());
    }

    #[test]
    fn without_an_identity_there_is_no_service() {
        let without = EXAMPLE.replacen("\nidentity =", "\n# identity =", 1);
        assert!(toml::from_str::<Config>(&without).unwrap_err().message().contains("identity"));
    }
}
