//! Mistakes on purpose. A property that no mistake can break would prove nothing.

use crate::invariants::{ASKED_FOR, GOES_ON, KEYS, ONE_HISTORY, SIGNATURES};

/// A mistake that the model can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// INSERT and COMMIT come before the journal.
    InsertBeforeJournal,
    /// Private key n is destroyed before event n+1 is committed.
    RetireBeforeCommit,
    /// The token state takes the new generation's name before its key.
    NameBeforeKey,
    /// The writer lock is not taken.
    NoLock,
    /// No lease expires, and none is waited for.
    NoLease,
    /// The expected generation is not compared.
    NoExpectation,
    /// The note that a rotation has begun stays in the file and does not reach the token.
    BegunInFileOnly,
    /// The signed event is in the file before it is on the token.
    FileBeforeToken,
    /// What a rotation does to token and journal goes on when the lease has expired.
    UnfencedRotation,
    /// A daemon that lost its lock and gets it back goes on with what it knew.
    ReturnWithoutLook,
    /// A daemon that lost its lock and gets it back when its lease has expired does not wait.
    ReturnWithoutWait,
    /// A reply is handed over although the lease has expired since.
    UnfencedReplies,
    /// The release check stays open while a taint runs.
    OpenReleaseCheck,
    /// A key that the token does not destroy is waited for.
    WaitsForDestruction,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::InsertBeforeJournal,
        Self::RetireBeforeCommit,
        Self::NameBeforeKey,
        Self::NoLock,
        Self::NoLease,
        Self::NoExpectation,
        Self::BegunInFileOnly,
        Self::FileBeforeToken,
        Self::UnfencedRotation,
        Self::ReturnWithoutLook,
        Self::ReturnWithoutWait,
        Self::UnfencedReplies,
        Self::OpenReleaseCheck,
        Self::WaitsForDestruction,
    ];

    /// The property that it breaks.
    pub const fn breaks(self) -> &'static str {
        match self {
            Self::NoLock
            | Self::NoLease
            | Self::FileBeforeToken
            | Self::UnfencedRotation
            | Self::ReturnWithoutLook
            | Self::ReturnWithoutWait => ONE_HISTORY,
            Self::RetireBeforeCommit => KEYS,
            Self::NoExpectation => ASKED_FOR,
            Self::BegunInFileOnly | Self::WaitsForDestruction => GOES_ON,
            Self::InsertBeforeJournal
            | Self::NameBeforeKey
            | Self::UnfencedReplies
            | Self::OpenReleaseCheck => SIGNATURES,
        }
    }
}
