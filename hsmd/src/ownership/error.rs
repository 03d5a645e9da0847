//! Why the token is not this daemon's.

use super::Record;
use super::folder::FolderError;
use crate::daemon::core::CoreError;
use crate::keylog::KeylogError;
use crate::token::{Class, TokenError};

/// Why the token is not this daemon's.
#[derive(Debug, thiserror::Error)]
pub enum OwnershipError {
    /// The state folder, or a token's `lock_file`.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The database.
    #[error(transparent)]
    Keylog(#[from] KeylogError),
    /// The token.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// Another state folder owns the token.
    #[error("{}", refusal(.token, .owner))]
    Owned {
        /// The token.
        token: String,
        /// The owner's record.
        owner: Box<Record>,
    },
    /// The token takes no record of ours, and another folder's stands there.
    #[error(
        "the token {token} takes no record of this daemon ({reason}), and the state folder {owner} owns it: \
         let it take one, or stop that daemon and remove its record"
    )]
    NoRecord {
        /// The token.
        token: String,
        /// Why it takes none.
        reason: String,
        /// The owner's folder.
        owner: String,
    },
    /// The token can't show who owns it.
    #[error(
        "the token {token} shows what another process made only after C_Initialize, so it can't show who owns \
         it: set lock_file, a file beside the token's own store, the same for all daemons that use it, and \
         standby = false"
    )]
    NeedsLockFile {
        /// The token.
        token: String,
    },
}

impl OwnershipError {
    /// Whether beginning again later may help without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Core(CoreError::Token(error)) => error.class() != Class::Caller,
            Self::Keylog(error) => error.is_transient(),
            _ => false,
        }
    }
}

impl From<TokenError> for OwnershipError {
    fn from(error: TokenError) -> Self {
        Self::Core(error.into())
    }
}

/// What stands against us, and what to do.
pub fn refusal(token: &str, owner: &Record) -> String {
    format!(
        "the token {token} is owned by another state folder ({}, epoch {}), which this database does \
         not name: two daemons with different databases would make two histories. Stop that daemon, \
         or, if it is dead or lost for good, start this one once with --take-over-token",
        owner.folder, owner.epoch
    )
}
