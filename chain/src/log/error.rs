//! Why a log, or an event offered to one, is refused.

use std::sync::Arc;

use crate::anchor::Head;
use crate::cesr::Digest;
use crate::event::{EventFault, SignedEvent};
use crate::time::Timestamp;

/// Why a whole log is refused. Of several faulty events the first is named, whatever the order in
/// which they were checked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log has no events.
    #[error("the log is empty")]
    Empty,
    /// The bytes are no JSON array in UTF-8.
    #[error("the log is not a JSON array")]
    Malformed(#[source] serde_json::Error),
    /// An element of the array is not `{"payload":…,"signature":…}`.
    #[error("element {position} is not an object of exactly payload and signature")]
    Element {
        /// The element's index.
        position: usize,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// An event breaks a rule.
    #[error("event {position} is refused")]
    Event {
        /// The event's index in the log.
        position: usize,
        /// The rule.
        #[source]
        source: EventFault,
    },
    /// The log is another identity's.
    #[error("the log is that of {found}, not of {expected}")]
    Identity {
        /// The identity that the reader trusts.
        expected: Digest,
        /// The identity of the log.
        found: Digest,
    },
    /// The log is valid but ends before the event that the reader remembers.
    #[error("rollback: the log ends at {offered}, before the remembered {remembered}")]
    Rollback {
        /// The event that the reader remembers.
        remembered: Head,
        /// The log's head.
        offered: Head,
    },
    /// The log is valid but has another event at the remembered number.
    #[error("fork: the log has {found} in place of the remembered {remembered}")]
    Forked {
        /// The event that the reader remembers.
        remembered: Head,
        /// The id of the log's event of that number.
        found: Digest,
    },
}

/// Why an event does not extend a log.
#[derive(Debug, thiserror::Error)]
pub enum ExtendError {
    /// The event breaks a rule; the log is as it was.
    #[error("the event is refused")]
    Event(#[source] EventFault),
    /// The event's only fault is a `createdAt` in the future: offer it again later. Its taint
    /// already counts: the log answers that the tainted generation is dead.
    #[error("the event was made at {created_at}, which lies in the future")]
    Future {
        /// When the event says it was made.
        created_at: Timestamp,
        /// The generation that is dead from now on, if the event taints one.
        tainted: Option<Digest>,
    },
    /// The event is valid in place of one that the log has: proof that the identity has two
    /// histories. The log stays on its branch.
    #[error("fork: {} contests {}, which the log has", theirs.event().id(), ours.event().id())]
    Forked {
        /// The log's event of that number.
        ours: Arc<SignedEvent>,
        /// The event offered.
        theirs: Arc<SignedEvent>,
    },
}

/// Why a log does not take over what another copy has beyond it.
#[derive(Debug, thiserror::Error)]
pub enum CatchUpError {
    /// The other copy agrees but ends before this log's head.
    #[error("rollback: the copy ends at {offered}, before the known head {known}")]
    Rollback {
        /// This log's head.
        known: Head,
        /// The head of the copy; `None` when it is empty.
        offered: OfferedHead,
    },
    /// The other copy's event at this position is refused; those before it were taken over.
    #[error("event {position} of the copy is not taken over")]
    Event {
        /// The event's index in the copy.
        position: usize,
        /// The fault of the event.
        #[source]
        source: ExtendError,
    },
}

/// The newest event of a copy that may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfferedHead(pub Option<Head>);

impl std::fmt::Display for OfferedHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(head) => head.fmt(f),
            None => f.write_str("nothing"),
        }
    }
}
