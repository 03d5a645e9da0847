//! Mistakes on purpose: each must lead to a counterexample.

use super::invariants::{KEPT, ONE_HISTORY, ONE_OWNER, READERS, SIGNATURES};

/// A mistake that the model can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Neither wait lasts until the jobs that were open are over.
    NoWaitForJobs,
    /// Served as soon as the claim stands: no second change.
    NoSecondChange,
    /// The last look comes without `C_Initialize`.
    NoReinitialise,
    /// The superseded owner's lease is not waited for.
    NoLeaseWait,
    /// A foreign record of the same epoch is no reason to withdraw.
    EqualEpochsStay,
    /// An owner that sees a higher epoch goes on.
    GoOnBesideAHigherEpoch,
    /// A reply is handed over although the lease has expired since.
    UnfencedReplies,
    /// No look before the record is replaced.
    NoLookBeforeTheRecord,
    /// The event is committed and published before the record holds it.
    CommitBeforeRecord,
    /// The events in other folders' records are not read.
    NoMerge,
    /// The old record is destroyed before the new one is made.
    DestroyBeforeMake,
    /// A start publishes the rows before it has looked at journal and records.
    PublishRowsAtStart,
    /// A start shows rows and its own journal although its claim was cut off before it had merged the records.
    ShowUnmerged,
    /// Of several pending events only the newest is kept.
    OnlyTheNewestPending,
    /// The folder keeps the epoch of a claim before its waits are over.
    KeptBeforeTaken,
    /// A start on its own folder goes on without looking at other records.
    ResumeWithoutLook,
    /// Where records hold no events, a start does not compare its log with the keys on the token.
    NoTable,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::NoWaitForJobs,
        Self::NoSecondChange,
        Self::NoReinitialise,
        Self::NoLeaseWait,
        Self::EqualEpochsStay,
        Self::GoOnBesideAHigherEpoch,
        Self::UnfencedReplies,
        Self::NoLookBeforeTheRecord,
        Self::CommitBeforeRecord,
        Self::NoMerge,
        Self::DestroyBeforeMake,
        Self::PublishRowsAtStart,
        Self::ShowUnmerged,
        Self::OnlyTheNewestPending,
        Self::KeptBeforeTaken,
        Self::ResumeWithoutLook,
        Self::NoTable,
    ];

    /// The property that it breaks.
    pub const fn breaks(self) -> &'static str {
        match self {
            Self::NoSecondChange
            | Self::NoLeaseWait
            | Self::EqualEpochsStay
            | Self::GoOnBesideAHigherEpoch
            | Self::KeptBeforeTaken
            | Self::ResumeWithoutLook => ONE_OWNER,
            Self::NoWaitForJobs
            | Self::NoReinitialise
            | Self::NoLookBeforeTheRecord
            | Self::CommitBeforeRecord
            | Self::NoMerge
            | Self::NoTable => ONE_HISTORY,
            Self::UnfencedReplies => SIGNATURES,
            Self::DestroyBeforeMake | Self::PublishRowsAtStart | Self::ShowUnmerged => READERS,
            Self::OnlyTheNewestPending => KEPT,
        }
    }
}
