//! Why the daemon does not start.

use crate::daemon::core::CoreError;
use crate::keylog::{AppendError, KeylogError};
use crate::ownership::OwnershipError;
use crate::startup::Verdict;
use crate::token::{Class, TokenError};

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database refuses in a way that waiting won't change.
    #[error(transparent)]
    Keylog(#[from] KeylogError),
    /// The history refuses.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// Another daemon writes.
    #[error(
        "another hsmd holds the writer lock of this key log: stop it first, or set standby = true \
         on both"
    )]
    AnotherWriter,
    /// Log and token do not fit.
    #[error("{}", .0.advice())]
    Refused(Verdict),
    /// `--assume-crashed` on a token that does not destroy keys.
    #[error(
        "this token does not destroy keys, so its keys do not tell an interrupted rotation from a taint \
         whose event is lost: --assume-crashed is refused; import the newest copy, or the file that \
         `hsmctl taint` wrote, with `hsmd import FILE`"
    )]
    KeysStay(#[source] TokenError),
    /// The token is not this daemon's.
    #[error(transparent)]
    Ownership(#[from] OwnershipError),
}

impl StartError {
    /// Whether beginning again later may help without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Keylog(error) | Self::Core(CoreError::Keylog(error)) => error.is_transient(),
            Self::Core(CoreError::Append(
                AppendError::NotCommitted(error) | AppendError::Unknown(error),
            )) => error.is_transient(),
            // Some step took longer than a lease: whose the token is now is looked at again.
            Self::Core(CoreError::LeaseExpired | CoreError::Token(TokenError::LeaseExpired)) => {
                true
            }
            Self::Core(CoreError::Token(error)) => error.class() != Class::Caller,
            Self::Ownership(error) => error.is_transient(),
            _ => false,
        }
    }

    /// Whether every further start refuses for the same reason, until a person has changed something:
    /// then the supervisor is told not to try. What may pass without that is left out, for example
    /// another daemon, which may end. Of a standby pair (`is_pair`) the token's owner releases the token at
    /// a clean stop, or gets the lock of this database and names its claim there: then another start may
    /// do better.
    pub fn stays(&self, is_pair: bool) -> bool {
        match self {
            Self::Refused(_) | Self::KeysStay(_) => true,
            Self::Keylog(error) | Self::Core(CoreError::Keylog(error)) => error.stays(),
            Self::Core(error) => matches!(
                error,
                CoreError::Row { .. }
                    | CoreError::Log(_)
                    | CoreError::Diverged(_)
                    | CoreError::Contested(_)
                    | CoreError::OlderThanJournal { .. }
                    | CoreError::JournalEvent { .. }
            ),
            Self::Ownership(error) => match error {
                OwnershipError::NeedsLockFile { .. } => true,
                OwnershipError::Owned { .. } | OwnershipError::NoRecord { .. } => !is_pair,
                _ => false,
            },
            Self::AnotherWriter => false,
        }
    }
}
