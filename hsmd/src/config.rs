//! The configuration: hsmd.toml, section by section, as strict types.
//!
//! What is parsed here is valid: names are unique, purposes are of one kind, durations are in range.
//! Nothing reads the file or the environment after this. Every key is documented in
//! `hsmd.example.toml`, which a test parses.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hsmd_chain::Anchor;
pub use hsmd_runtime::LogConfig;
use hsmd_support::{duration, size};
use serde::{Deserialize, Deserializer};

mod database;
mod listen;
mod policy;
mod records;
mod token;

pub use database::DatabaseConfig;
pub use listen::{ADMIN_CONNECTIONS, LimitsConfig, ListenConfig, TlsListenConfig, TlsVersion};
pub use policy::{
    AdminAction, AdminConfig, CallerConfig, Purposes, RateConfig, Who, is_reserved, well_formed,
};
pub use records::{AuditConfig, AuditSink, ObserveConfig, TraceConfig};
pub use token::{JournalCopy, TokenConfig};

/// Everything in hsmd.toml.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The expected identity, perhaps with a recent head; absent only before `init`.
    #[serde(default, deserialize_with = "parsed")]
    pub identity: Option<Anchor>,
    /// Where the journal lives.
    pub state_dir: PathBuf,
    /// What becomes of a private key after an ordinary rotation.
    #[serde(default)]
    pub retire: Retire,
    /// Whether a second daemon waits for the lock or refuses to start.
    #[serde(default)]
    pub standby: bool,
    /// How long a daemon may sign without a look at the token's owner and, with standby, without proof of
    /// its lock.
    #[serde(default = "defaults::lock_grace", deserialize_with = "duration")]
    pub lock_grace: Duration,
    /// How long a claim of the token waits for the jobs of other daemons; equal everywhere.
    #[serde(default = "defaults::claim_wait", deserialize_with = "duration")]
    pub claim_wait: Duration,
    /// How far ahead of our clock an event in the log may lie.
    #[serde(default = "defaults::clock_skew", deserialize_with = "duration")]
    pub clock_skew: Duration,
    /// How long accepted calls may take to finish after SIGTERM.
    #[serde(default = "defaults::stop_grace", deserialize_with = "duration")]
    pub stop_grace: Duration,
    /// Log output.
    #[serde(default)]
    pub log: LogConfig,
    /// The key log's database.
    pub database: DatabaseConfig,
    /// The tokens, usually one. New keys are made on the last.
    pub token: Vec<TokenConfig>,
    /// The purposes known here.
    #[serde(default)]
    pub purposes: Purposes,
    /// Where the daemon listens.
    pub listen: ListenConfig,
    /// How much of it one caller may take.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Where audit records go.
    #[serde(default)]
    pub audit: AuditConfig,
    /// Where traces go.
    pub trace: Option<TraceConfig>,
    /// Metrics and health over HTTP.
    pub observe: Option<ObserveConfig>,
    /// Who may call the service listener.
    #[serde(default)]
    pub caller: Vec<CallerConfig>,
    /// Who may call the admin listener.
    #[serde(default)]
    pub admin: Vec<AdminConfig>,
}

/// What becomes of a private key after an ordinary rotation; a tainted one is always destroyed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retire {
    /// Destroyed before the rotation answers.
    #[default]
    Destroy,
    /// Left on the token.
    Keep,
}

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read, or is not TOML of the documented shape.
    #[error(transparent)]
    File(#[from] hsmd_runtime::ConfigError),
    /// The values contradict each other.
    #[error("the configuration {path} is not valid: {message}")]
    Invalid {
        path: PathBuf,
        /// What is wrong with them.
        message: String,
    },
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// `ConfigError::File`: it can't be read or has an unknown key; `ConfigError::Invalid`: it has a value
    /// that makes no sense.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::checked(hsmd_runtime::load(path)?, path)
    }

    /// Parses and checks a file's text; `path` is for messages only.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::checked(hsmd_runtime::parse(text, path)?, path)
    }

    fn checked(config: Self, path: &Path) -> Result<Self, ConfigError> {
        config.check().map_err(|message| ConfigError::Invalid { path: path.into(), message })?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        self.listen.check(|name| {
            self.caller.iter().any(|caller| caller.name == name && caller.who() == Who::Plaintext)
        })?;
        self.limits.check()?;
        if self.trace.as_ref().is_some_and(|trace| !(0.0..=1.0).contains(&trace.ratio)) {
            return Err("trace.ratio is 0 to 1".into());
        }
        if self.lock_grace < Duration::from_millis(500) {
            return Err("lock_grace is less than 500ms".into());
        }
        if self.claim_wait < Duration::from_millis(20) {
            return Err("claim_wait is less than 20ms".into());
        }
        token::check(&self.token)?;
        if self.standby && self.token.iter().any(|token| token.lock_file.is_some()) {
            return Err("a token with a lock_file can't be used with standby = true: what one process makes \
                        on it shows in another only after C_Initialize"
                .into());
        }
        self.purposes.check()?;
        let admin_tls = self.listen.admin_tls.is_some();
        policy::check(&self.purposes, &self.caller, &self.admin, admin_tls)
    }
}

mod defaults {
    use std::time::Duration;

    pub(super) fn lock_grace() -> Duration {
        Duration::from_secs(3)
    }

    pub(super) fn claim_wait() -> Duration {
        Duration::from_secs(1)
    }

    pub(super) fn clock_skew() -> Duration {
        Duration::from_secs(5)
    }

    pub(super) fn stop_grace() -> Duration {
        Duration::from_secs(10)
    }
}

fn parsed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Anchor>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../hsmd.example.toml");

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("hsmd.toml"))
    }

    #[test]
    fn the_example_is_valid() {
        let config = parse(EXAMPLE).unwrap();
        assert_eq!(config.token[0].label.as_deref(), Some("hsmd"));
        assert_eq!(config.caller.len(), 4);
        assert_eq!(config.listen.admin.mode, 0o600);
    }

    #[test]
    fn no_message_repeats_a_secret() {
        for (from, to) in [
            ("pin_file = ", "pin = \"hunter2\" #"),
            ("writer_url_file = ", "writer_url = \"postgres://hsmd:hunter2@db/hsmd\" #"),
            ("standby = false", "standby = \"hunter2\""),
        ] {
            let error = parse(&EXAMPLE.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains("line ") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn each_mistake_is_named() {
        let cases = [
            ("standby = false", "stand_by = false", "unknown field"),
            ("mode = \"0600\"", "mode = \"0999\"", "octal"),
            ("lock_grace = \"3s\"", "lock_grace = \"3\"", "time unit"),
            ("sign = [\"document\"]", "sign = [\"document\", \"access\"]", "both"),
            ("sign = [\"document\"]", "sign = [\"health\"]", "reserved"),
            ("endorse = [\"response\"]\nmax_ttl", "endorse = [\"nope\"]\nmax_ttl", "nope"),
            ("allow = [\"status\"]", "allow = [\"taint\", \"all\"]", "unknown variant"),
            ("uid = 1001", "uid = 1001\ngid = 5", "one of uid, gid, san"),
            ("name = \"app\"", "name = \"auth\"", "twice"),
            ("uid = 0\n", "san = \"spiffe://example.org/ops\"\n", "listen.admin_tls"),
            ("/run/hsmd/admin.sock", "/run/hsmd/service.sock", "share a path"),
            ("/run/hsmd/admin.sock", "run/hsmd/admin.sock", "absolute"),
            ("/run/hsmd/admin.sock", "@hsmd-admin", "no mode"),
            ("mode = \"0600\"", "mode = \"0602\"", "listen.admin.mode"),
            ("gid = 1004", "gid = 65534", "gid 65534"),
            ("identity = \"EK62", "identity = \"EK6", "identity"),
            ("queue_length = 16384", "queue_length = 0", "queue_length"),
            ("connection_age = \"1h\"", "connection_age = \"2h\"", "connection_age is 1s to 1h"),
            ("bytes_in_flight = 3", "bytes_in_flight = ", "bytes_in_flight"),
            ("per_caller = 16777216", "per_caller = 4194304", "bytes_in_flight_per_caller"),
            ("unknown_connections = 32", "unknown_connections = 1", "unknown_connections"),
        ];
        for (from, to, expected) in cases {
            assert!(EXAMPLE.contains(from), "{from}");
            let error = parse(&EXAMPLE.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(expected), "{to}: {error}");
        }
    }
}
