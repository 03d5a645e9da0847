//! Admin records: who did what and why, kept in the transaction of the event that it led to.

use hsmd_chain::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

/// What an administrator did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminAction {
    /// Made the identity.
    Init,
    /// Rotated the key.
    Rotate,
    /// Tainted the key.
    Taint,
    /// Imported a copy of the log.
    Import,
    /// No administrator asked: the daemon appended again what the database had lost.
    Recovered,
}

impl AdminAction {
    /// As it stands in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Rotate => "rotate",
            Self::Taint => "taint",
            Self::Import => "import",
            Self::Recovered => "recovered",
        }
    }
}

/// One admin action. The journal keeps it beside its event, so that a crash loses neither.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminRecord {
    /// When, by our clock.
    pub at: Timestamp,
    /// What.
    pub action: AdminAction,
    /// By whom: the admin's name in the configuration, or the local user for commands.
    pub caller: String,
    /// Why, in the caller's words.
    pub reason: String,
    /// The request's id in the logs.
    pub request_id: String,
    /// Of an import: the digest of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_digest: Option<Digest>,
}
