//! keys.toml. Every setting is documented in `keys.example.toml`, which a test parses.

use hsmd_runtime::{HttpConfig, LogConfig};
use hsmd_service::config::{HsmConfig, RedisConfig};
use serde::Deserialize;

/// Everything in keys.toml.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen.
    pub http: HttpConfig,
    /// Whose key log is served.
    pub hsm: HsmConfig,
    /// Where the endorsed keys are.
    pub redis: RedisConfig,
    /// Log output.
    #[serde(default)]
    pub log: LogConfig,
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../keys.example.toml");

    #[test]
    fn the_example_is_valid() {
        let config: Config = toml::from_str(EXAMPLE).unwrap();
        assert_eq!(config.http.listen.port(), 8010);
        assert!(config.redis.open().is_ok());
    }

    #[test]
    fn without_an_identity_there_is_no_service() {
        let without: String = EXAMPLE
            .lines()
            .filter(|line| !line.starts_with("identity"))
            .collect::<Vec<_>>()
            .join("\n");
        assert!(toml::from_str::<Config>(&without).unwrap_err().message().contains("identity"));
        let typing_error = EXAMPLE.replace("[redis]", "[redis]\nurls = \"\"");
        assert!(toml::from_str::<Config>(&typing_error).is_err());
    }
}
