//! What a reader knows before it has seen a log: the identity, and perhaps a head.

use std::{fmt, str::FromStr};

use crate::cesr::{CesrError, Digest};
use crate::event::MAX_SEQUENCE_NUMBER;

/// The identity that a reader trusts, and optionally an event that a log must contain. Its text is
/// `E…` or `E…@<sequence>:<event id>`; shipping a recent head with the identity lets even a first
/// contact notice rollback and fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Anchor {
    identity: Digest,
    head: Option<Head>,
}

/// An event that a reader remembers: its number and id. Despite the name it need not be the newest
/// any more; a log that does not contain it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Head {
    /// The event's sequence number.
    pub sequence_number: u32,
    /// The event's id.
    pub id: Digest,
}

/// Why a text is no [`Anchor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// The part before `@` is no digest.
    #[error("the identity is malformed")]
    Identity(#[source] CesrError),
    /// The part after `@` is not `<sequence>:<event id>`, or the number is out of range or padded.
    #[error("the head is not <sequence>:<event id>")]
    Head,
    /// The event id of the head is no digest.
    #[error("the head's event id is malformed")]
    HeadId(#[source] CesrError),
    /// Event 0 is named by the identity itself, so a head 0 must carry the same digest.
    #[error("event 0 of an identity has the identity as its id")]
    Inception,
}

impl Anchor {
    /// Trusts an identity and nothing else.
    pub fn new(identity: Digest) -> Self {
        Self { identity, head: None }
    }

    /// Trusts an identity and remembers an event of its log.
    pub fn with_head(identity: Digest, head: Head) -> Self {
        Self { identity, head: Some(head) }
    }

    /// The identity that a log must have.
    pub fn identity(&self) -> Digest {
        self.identity
    }

    /// The event that a log must contain.
    pub fn head(&self) -> Option<Head> {
        self.head
    }
}

impl From<Digest> for Anchor {
    fn from(identity: Digest) -> Self {
        Self::new(identity)
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.identity)?;
        self.head.map_or(Ok(()), |head| write!(f, "@{head}"))
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence_number, self.id)
    }
}

impl FromStr for Anchor {
    type Err = AnchorError;

    fn from_str(text: &str) -> Result<Self, AnchorError> {
        let Some((identity, head)) = text.split_once('@') else {
            return text.parse().map(Self::new).map_err(AnchorError::Identity);
        };
        let identity = identity.parse().map_err(AnchorError::Identity)?;
        let head: Head = head.parse()?;
        if head.sequence_number == 0 && head.id != identity {
            return Err(AnchorError::Inception);
        }
        Ok(Self::with_head(identity, head))
    }
}

impl FromStr for Head {
    type Err = AnchorError;

    fn from_str(text: &str) -> Result<Self, AnchorError> {
        let (number, id) = text.split_once(':').ok_or(AnchorError::Head)?;
        let sequence_number: u32 = number.parse().map_err(|_| AnchorError::Head)?;
        let canonical = sequence_number.to_string() == number;
        if !canonical || sequence_number > MAX_SEQUENCE_NUMBER {
            return Err(AnchorError::Head);
        }
        Ok(Self { sequence_number, id: id.parse().map_err(AnchorError::HeadId)? })
    }
}
