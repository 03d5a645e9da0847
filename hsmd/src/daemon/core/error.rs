//! What can go wrong with the history.

use crate::journal::JournalError;
use crate::keylog::{AppendError, KeylogError};
use crate::signer::WorkerGone;
use crate::token::TokenError;

/// What can go wrong with the history.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// The database.
    #[error(transparent)]
    Keylog(#[from] KeylogError),
    /// There is no connection to the database now.
    #[error("the database is not connected")]
    Disconnected,
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token's thread has stopped.
    #[error(transparent)]
    Stopping(#[from] WorkerGone),
    /// The token gave a new pair a key that an event reveals or commits to already.
    #[error(
        "the token's key {0} is not new: an event reveals or commits to it already, so it is not used \
         again; the token mixes up its keys (`hsmd check --try` says how)"
    )]
    KnownKey(u32),
    /// A row is not an event at all.
    #[error("row {position} of the key log in the database is not an event: {message}")]
    Row {
        /// Its position.
        position: usize,
        /// What is wrong.
        message: String,
    },
    /// The log does not verify.
    #[error("the key log in the database does not verify")]
    Log(#[from] hsmd_chain::LogError),
    /// The log is not a continuation of the one we know.
    #[error("the key log in the database is not the one this daemon knows")]
    Diverged(#[source] hsmd_chain::log::CatchUpError),
    /// The journal holds a signed event that the log contradicts.
    #[error(
        "the journal holds an event {0} other than the log's: two histories of one identity; \
         nothing is done before a person has decided"
    )]
    Contested(u32),
    /// The journal knows a later event than the log could have next.
    #[error(
        "the log ends at event {head}, the journal knows event {journal}: the log is older \
         (a restored backup?); import the missing events with `hsmd import FILE`"
    )]
    OlderThanJournal {
        /// The log's head.
        head: u32,
        /// The journal's event.
        journal: u32,
    },
    /// The journal's event does not follow the log's head.
    #[error("the journal's event {number} does not follow the log")]
    JournalEvent {
        number: u32,
        #[source]
        source: hsmd_chain::ExtendError,
    },
    /// The append.
    #[error("cannot append to the key log")]
    Append(#[from] AppendError),
    /// Another daemon may be the one that writes to the database.
    #[error("the lease on the writer lock has expired")]
    LeaseExpired,
    /// A token is another daemon's, or can't be shown to be ours: this says whose, and what to do.
    #[error("{0}")]
    NotOwner(String),
    /// The clock.
    #[error(transparent)]
    Clock(#[from] crate::clock::ClockSuspect),
}
