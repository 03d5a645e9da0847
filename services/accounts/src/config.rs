//! accounts.toml. Every setting is documented in `accounts.example.toml`, which a test parses.

mod internal;
mod limits;
mod mail;
mod tokens;

use std::{num::NonZero, path::PathBuf, time::Duration};

use hsmd_runtime::{HttpConfig, LogConfig};
use hsmd_service::config::HsmConfig;
use hsmd_support::duration;
use serde::Deserialize;

pub use crate::origin::{Origin, OriginError};
pub use hsmd_support::proxy::{Network, NetworkError};
pub use internal::InternalConfig;
pub use limits::{LimitsConfig, Rate};
pub use mail::{MailConfig, SmtpConfig, SmtpSecurity};
pub use tokens::{Algorithm, TokensConfig};

/// Everything in accounts.toml.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen.
    pub http: HttpConfig,
    /// Where browsers find the service, and which pages may use it.
    pub site: SiteConfig,
    /// Who endorses our keys, and whom we believe about others'.
    pub hsm: HsmConfig,
    /// Where accounts are.
    pub database: DatabaseConfig,
    /// How long sessions last.
    #[serde(default)]
    pub sessions: SessionsConfig,
    /// How passwords are hashed.
    #[serde(default)]
    pub passwords: PasswordsConfig,
    /// What users may do.
    #[serde(default)]
    pub users: UsersConfig,
    /// JWTs and the keys that sign them.
    #[serde(default)]
    pub tokens: TokensConfig,
    /// How much is accepted.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// How mail is sent; without it none is.
    pub mail: Option<MailConfig>,
    /// Endpoints for gateways and other services; without it there are none.
    pub internal: Option<InternalConfig>,
    /// Log output.
    #[serde(default)]
    pub log: LogConfig,
}

/// `[site]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteConfig {
    /// Where browsers find the service. It decides the cookies' name and is `iss` and `aud` of tokens.
    pub public_url: Origin,
    /// The pages of other origins that may use the service, with cookies.
    #[serde(default)]
    pub trusted_origins: Vec<Origin>,
    /// Whether a request that says nothing of where it is from is refused where browsers' are checked.
    #[serde(default)]
    pub require_origin: bool,
    /// Whether the service may be reached without TLS from elsewhere than this machine.
    #[serde(default)]
    pub allow_http: bool,
}

/// `[database]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// A file that holds the Postgres URL.
    pub url_file: PathBuf,
    /// The schema that holds the tables.
    #[serde(default = "accounts")]
    pub schema: String,
    /// How many connections are used at the most.
    #[serde(default = "ten")]
    pub max_connections: u32,
    /// How long a request waits for a connection, and how long one statement may take.
    #[serde(default = "three_seconds", deserialize_with = "duration")]
    pub timeout: Duration,
}

/// `[sessions]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionsConfig {
    /// How long a session lasts after it was last extended.
    #[serde(deserialize_with = "duration")]
    pub lifetime: Duration,
    /// How long after that its use extends it again.
    #[serde(deserialize_with = "duration")]
    pub update_age: Duration,
    /// How long a session lasts whose user did not want to be remembered.
    #[serde(deserialize_with = "duration")]
    pub short: Duration,
}

/// `[passwords]`: Argon2id's settings and the queue in front of it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PasswordsConfig {
    /// Argon2id's memory for each thread, in KiB.
    pub memory_kib: u32,
    /// Argon2id's passes over it.
    pub iterations: u32,
    /// Argon2id's degree of parallelism.
    pub parallelism: u32,
    /// How many threads hash; one less than there are cores if it is left out.
    pub threads: Option<NonZero<usize>>,
    /// How many passwords wait at the most.
    pub queue: NonZero<usize>,
}

/// `[users]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct UsersConfig {
    /// Whether one may sign up.
    pub sign_up: bool,
    /// Whether one must have verified one's address to sign in.
    pub require_email_verification: bool,
    /// Whether the link that verifies an address makes a session.
    pub auto_sign_in_after_verification: bool,
    /// Whether users may change their address.
    pub change_email: bool,
    /// Whether users may delete their account.
    pub delete_user: bool,
}

/// Why a configuration can't be used though each value is well formed.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// TLS is missing.
    #[error(
        "public_url is http and not this machine: cookies would travel in clear text; \
         use https, or set allow_http = true"
    )]
    Http,
    /// The schema's name would need quoting.
    #[error("schema {0:?} is not a name of small letters, digits and underscores")]
    Schema(String),
    /// A feature sends mail.
    #[error("{0} needs the section [mail]")]
    MailMissing(&'static str),
    /// The lifetimes contradict each other.
    #[error("{1}")]
    Lifetime(&'static str, String),
    /// Mail goes nowhere, or to two places.
    #[error("it needs either outbox or smtp")]
    MailTarget,
}

impl SettingError {
    /// Where in the file it is.
    #[must_use]
    pub fn section(&self) -> &'static str {
        match self {
            Self::Http => "site",
            Self::Schema(_) => "database",
            Self::MailMissing(_) => "users",
            Self::Lifetime(section, _) => section,
            Self::MailTarget => "mail",
        }
    }
}

impl Config {
    /// Checks what only several settings together say.
    ///
    /// # Errors
    /// [`SettingError`]: the first contradiction.
    pub fn check(&self) -> Result<(), SettingError> {
        let url = &self.site.public_url;
        if !url.is_https() && !url.is_loopback() && !self.site.allow_http {
            return Err(SettingError::Http);
        }
        let schema = &self.database.schema;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if schema.is_empty() || schema.len() > 63 || !schema.bytes().all(plain) {
            return Err(SettingError::Schema(schema.clone()));
        }
        if self.mail.is_none() {
            for (wanted, name) in [
                (self.users.require_email_verification, "require_email_verification"),
                (self.users.change_email, "change_email"),
            ] {
                if wanted {
                    return Err(SettingError::MailMissing(name));
                }
            }
        }
        if self.sessions.update_age >= self.sessions.lifetime {
            let text = "update_age must be shorter than lifetime";
            return Err(SettingError::Lifetime("sessions", text.to_owned()));
        }
        self.mail.as_ref().map_or(Ok(()), MailConfig::check)?;
        self.tokens.check()
    }
}

impl Default for SessionsConfig {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self { lifetime: 7 * DAY, update_age: DAY, short: DAY }
    }
}

impl Default for PasswordsConfig {
    fn default() -> Self {
        let queue = NonZero::<usize>::MIN.saturating_add(127);
        Self { memory_kib: 19 * 1024, iterations: 2, parallelism: 1, threads: None, queue }
    }
}

impl Default for UsersConfig {
    fn default() -> Self {
        Self {
            sign_up: true,
            require_email_verification: false,
            auto_sign_in_after_verification: false,
            change_email: false,
            delete_user: true,
        }
    }
}

fn accounts() -> String {
    "accounts".to_owned()
}

fn ten() -> u32 {
    10
}

fn three_seconds() -> Duration {
    Duration::from_secs(3)
}

#[cfg(test)]
mod tests;
