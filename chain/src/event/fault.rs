//! What can be wrong with one event.

use crate::cesr::{CesrError, Digest};
use crate::time::{Timestamp, TimestampError};

/// The first rule of docs/formats.md §2 that an event breaks. One variant a rule, in the order in which they
/// are checked: form, own consistency, place after its predecessor, signature, time.
#[derive(Debug, thiserror::Error)]
pub enum EventFault {
    /// Not one JSON object with the members of an event.
    #[error("the event is malformed JSON or has missing, unknown or repeated members")]
    Malformed(#[source] serde_json::Error),
    /// A member that holds a digest, key or signature does not.
    #[error("the member {member} is malformed")]
    Encoding {
        /// The member's name.
        member: &'static str,
        /// What is wrong with its text.
        #[source]
        source: CesrError,
    },
    /// `createdAt` is no timestamp.
    #[error("the member createdAt is malformed")]
    CreatedAt(#[source] TimestampError),
    /// The purpose is not `key-authorization`.
    #[error("the purpose is not key-authorization")]
    Purpose,
    /// The number has more than eight digits.
    #[error("the sequence number exceeds 99999999")]
    SequenceNumberTooLarge,
    /// Event 0 names a previous event or taints one.
    #[error("event 0 has previous or taintPrevious")]
    InceptionMembers,
    /// An event other than event 0 names no previous event.
    #[error("the member previous is missing")]
    PreviousMissing,
    /// The text is not the canonical one of its own values, byte for byte.
    #[error("the event is not in canonical form")]
    NotCanonical,
    /// The id is not the digest of the text.
    #[error("the id is not the digest of the event")]
    Id,
    /// Event 0's prefix is not its own id.
    #[error("the prefix of event 0 is not its id")]
    InceptionPrefix,
    /// The event commits to its own key: no later event could reveal a key of its own.
    #[error("the rotation hash is the digest of the event's own public key")]
    CommitsToOwnKey,
    /// The number is not the one that comes next.
    #[error("sequence number {found} where {expected} comes next")]
    OutOfOrder {
        /// The number that the next event must have.
        expected: u32,
        /// The number that it has.
        found: u32,
    },
    /// The event belongs to another identity.
    #[error("the prefix is {found}, the log's is {expected}")]
    Prefix {
        /// The identity of the log.
        expected: Digest,
        /// The prefix of the event.
        found: Digest,
    },
    /// `previous` is not the id of the event before.
    #[error("previous is not {expected}, the id of the event before")]
    Previous {
        /// The id of the event before.
        expected: Digest,
    },
    /// The revealed key is not the one to which the event before committed.
    #[error("the public key is not the one that the event before committed to")]
    NotCommitted,
    /// An earlier event revealed the key. It may be old, tainted or stolen.
    #[error("the public key was revealed before, by event {number}")]
    KeyRevealedBefore {
        /// The sequence number of the event that revealed it.
        number: u32,
    },
    /// `createdAt` is not strictly later than the predecessor's.
    #[error("createdAt {found} is not later than {previous}, that of the event before")]
    NotLater {
        /// `createdAt` of the event before.
        previous: Timestamp,
        /// `createdAt` of this event.
        found: Timestamp,
    },
    /// The signature is not one of the revealed key over the text.
    #[error("the signature does not verify")]
    Signature,
    /// The event's only fault: it was made later than now, by more than the allowed clock skew.
    #[error("createdAt {created_at} lies in the future")]
    Future {
        /// When the event says it was made.
        created_at: Timestamp,
    },
}
