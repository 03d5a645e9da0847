//! Head statements: how new a log is, said by its newest key (docs/formats.md §5).
//!
//! A reader that gets the log from somebody it need not trust can be shown an old one for ever. A
//! statement of the head's key, not older than [`Freshness::max_staleness`], shows that it is not.

mod payload;

use std::time::Duration;

pub use payload::{HeadPayload, HeadPayloadError, PURPOSE};

use crate::body::{BodyError, BodyFormError, SignedBody};
use crate::cesr::Digest;
use crate::log::KeyLog;
use crate::time::Timestamp;

/// A head statement that was not checked yet; it is well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadStatement {
    signed: SignedBody,
    payload: HeadPayload,
}

/// How old a statement may be, and how far ahead of the reader's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// The greatest age; usually 60 s.
    pub max_staleness: Duration,
    /// The clock skew allowed; usually 5 s.
    pub skew: Duration,
}

/// The proof that the newest event of a log was the head at an instant: made by
/// [`HeadStatement::verify`] only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedHead {
    generation_id: Digest,
    payload: HeadPayload,
}

/// Why something is no head statement.
#[derive(Debug, thiserror::Error)]
pub enum HeadFormError {
    /// It is no signed body.
    #[error("not a signed body")]
    Body(#[source] BodyFormError),
    /// The signed body is no head statement.
    #[error("the signed body is no head statement")]
    Payload(#[source] HeadPayloadError),
}

/// Why a statement does not show that a log is fresh, in the order of the checks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Identity, generation or signature. An unknown generation says: fetch the log.
    #[error("the statement does not verify")]
    Body(#[source] BodyError),
    /// An earlier generation than the log's head made the statement: it proves nothing.
    #[error("made by generation {found}, but the head is {head}")]
    Behind {
        /// The head's sequence number.
        head: u32,
        /// That of the statement's generation.
        found: u32,
    },
    /// The statement names another number than that of its generation.
    #[error("names event {found}, but its generation is event {expected}")]
    SequenceNumber {
        /// The sequence number of the generation.
        expected: u32,
        /// The one that the statement names.
        found: u32,
    },
    /// The statement is too old.
    #[error("issued at {issued_at}, which is too long ago")]
    Stale {
        /// When the statement was made.
        issued_at: Timestamp,
    },
    /// The statement was made later than now, by more than the allowed clock skew.
    #[error("issued at {issued_at}, which lies in the future")]
    Future {
        /// When the statement says it was made.
        issued_at: Timestamp,
    },
}

impl HeadError {
    /// Whether a newer log may verify the statement: its generation is none that this log has.
    pub fn is_ahead(&self) -> bool {
        matches!(self, Self::Body(BodyError::UnknownGeneration { .. }))
    }
}

impl HeadStatement {
    /// Parses the published form, `{"body":…,"signature":"0I…"}`.
    pub fn parse(json: impl AsRef<[u8]>) -> Result<Self, HeadFormError> {
        Self::new(SignedBody::parse(json).map_err(HeadFormError::Body)?)
    }

    /// Takes a signed body as the head statement that its payload says it is.
    pub fn new(signed: SignedBody) -> Result<Self, HeadFormError> {
        let payload = HeadPayload::parse(signed.payload()).map_err(HeadFormError::Payload)?;
        Ok(Self { signed, payload })
    }

    /// Checks that the log's head made the statement, that it names the head's number, and that it
    /// is fresh at `now`.
    pub fn verify(
        &self,
        log: &KeyLog,
        now: Timestamp,
        freshness: Freshness,
    ) -> Result<VerifiedHead, HeadError> {
        let generation_id = self.signed.generation_id();
        let head = log.head().event();
        // Asked first: an earlier generation proves nothing, live or not.
        if let Some(found) = log.generation(&generation_id)
            && self.signed.identity() == log.identity()
            && generation_id != head.id()
        {
            let found = found.event().sequence_number();
            return Err(HeadError::Behind { head: head.sequence_number(), found });
        }
        self.signed.verify(log, now, Duration::ZERO).map_err(HeadError::Body)?;
        let (expected, found) = (head.sequence_number(), self.payload.sequence_number());
        if found != expected {
            return Err(HeadError::SequenceNumber { expected, found });
        }
        let verified = VerifiedHead { generation_id, payload: self.payload };
        verified.check_fresh(now, freshness)?;
        Ok(verified)
    }

    /// The body and its signature.
    pub fn signed(&self) -> &SignedBody {
        &self.signed
    }

    /// The sequence number that the statement names.
    pub fn sequence_number(&self) -> u32 {
        self.payload.sequence_number()
    }

    /// When the statement says it was made.
    pub fn issued_at(&self) -> Timestamp {
        self.payload.issued_at()
    }
}

impl VerifiedHead {
    /// Checks again that the statement is fresh and still about the head of `log`, which may be a
    /// later state of the log that it was verified against.
    pub fn recheck(
        &self,
        log: &KeyLog,
        now: Timestamp,
        freshness: Freshness,
    ) -> Result<(), HeadError> {
        let (generation_id, head) = (self.generation_id, log.head().event());
        if head.id() != generation_id {
            let (head, found) = (head.sequence_number(), self.sequence_number());
            return Err(HeadError::Behind { head, found });
        }
        // A taint that lies in the future is honoured before it is an event of the log.
        if !log.is_live(&generation_id, now, Duration::ZERO) {
            return Err(HeadError::Body(BodyError::NotLive { generation_id }));
        }
        self.check_fresh(now, freshness)
    }

    /// The generation that made the statement.
    pub fn generation_id(&self) -> Digest {
        self.generation_id
    }

    /// The sequence number of the head.
    pub fn sequence_number(&self) -> u32 {
        self.payload.sequence_number()
    }

    /// When the head was the head.
    pub fn issued_at(&self) -> Timestamp {
        self.payload.issued_at()
    }

    fn check_fresh(&self, now: Timestamp, freshness: Freshness) -> Result<(), HeadError> {
        let issued_at = self.issued_at();
        if issued_at > now.saturating_add(freshness.skew) {
            return Err(HeadError::Future { issued_at });
        }
        if issued_at.saturating_add(freshness.max_staleness) < now {
            return Err(HeadError::Stale { issued_at });
        }
        Ok(())
    }
}
