//! `[mail]`.

use std::path::PathBuf;

use serde::Deserialize;

use super::SettingError;

/// `[mail]`: one of the two.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailConfig {
    /// A file that gets one JSON object a line instead of mail; for development.
    pub outbox: Option<PathBuf>,
    /// The server that takes the mail.
    pub smtp: Option<SmtpConfig>,
}

/// `[mail.smtp]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmtpConfig {
    /// Its name, which its certificate must carry.
    pub host: String,
    /// Its port; 465 for `tls`, 587 for `starttls` and 25 for `none` if it is left out.
    pub port: Option<u16>,
    /// How the connection is protected.
    #[serde(default)]
    pub security: SmtpSecurity,
    /// The user's name, if it wants one.
    pub username: Option<String>,
    /// A file that holds the user's password.
    pub password_file: Option<PathBuf>,
    /// The authority that issued its certificate, if that is not a public one.
    pub ca_file: Option<PathBuf>,
    /// Who the mail is from, like `Example <accounts@example.com>`.
    pub from: String,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpSecurity {
    /// TLS from the first byte.
    #[default]
    Tls,
    /// TLS after STARTTLS, which must be offered.
    Starttls,
    /// Not at all: for a server on this machine.
    None,
}

impl MailConfig {
    pub(super) fn check(&self) -> Result<(), SettingError> {
        match self.outbox.is_some() == self.smtp.is_some() {
            true => Err(SettingError::MailTarget),
            false => Ok(()),
        }
    }
}
