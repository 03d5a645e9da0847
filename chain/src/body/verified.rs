//! Checking a signed body against a key log.

use std::time::Duration;

use super::SignedBody;
use crate::cesr::Digest;
use crate::log::KeyLog;
use crate::time::Timestamp;

/// The proof that a body was signed by a generation of the log that was live: made by
/// [`SignedBody::verify`] only. It speaks of the moment of the check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedBody {
    signed: SignedBody,
    sequence_number: u32,
}

/// Why a well-formed body is not to be believed, in the order of the checks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The body names another identity than the log's.
    #[error("signed under identity {found}, not {expected}")]
    Identity {
        /// The log's identity.
        expected: Digest,
        /// The body's.
        found: Digest,
    },
    /// The log has no such generation; the reader may not have followed it far enough.
    #[error("the log has no generation {generation_id}")]
    UnknownGeneration {
        /// The generation that the body names.
        generation_id: Digest,
    },
    /// The generation was live once, but is tainted or too old.
    #[error("generation {generation_id} is no longer live")]
    NotLive {
        /// The generation that the body names.
        generation_id: Digest,
    },
    /// The signature is not one of the generation's key over the text.
    #[error("the signature does not verify")]
    Signature,
}

impl SignedBody {
    /// Checks identity, that the generation is live at `now` with look-back `window`, and the
    /// signature over the exact text. The payload's meaning is the caller's affair.
    pub fn verify(
        &self,
        log: &KeyLog,
        now: Timestamp,
        window: Duration,
    ) -> Result<VerifiedBody, BodyError> {
        check_live(self, log, now, window)?;
        let generation_id = self.generation_id();
        let generation =
            log.generation(&generation_id).ok_or(BodyError::UnknownGeneration { generation_id })?;
        let event = generation.event();
        event
            .public_key()
            .verify(self.text().as_bytes(), self.signature())
            .map_err(|_| BodyError::Signature)?;
        Ok(VerifiedBody { signed: self.clone(), sequence_number: event.sequence_number() })
    }
}

impl VerifiedBody {
    /// Checks again that the generation is live, without the signature. `log` may be a later state
    /// of the log that the body was verified against.
    pub fn recheck(&self, log: &KeyLog, now: Timestamp, window: Duration) -> Result<(), BodyError> {
        check_live(&self.signed, log, now, window)
    }

    /// The exact text that was signed.
    pub fn text(&self) -> &str {
        self.signed.text()
    }

    /// The payload's exact text.
    pub fn payload(&self) -> &str {
        self.signed.payload()
    }

    /// The identity under which the body was signed.
    pub fn identity(&self) -> Digest {
        self.signed.identity()
    }

    /// The generation whose key signed the body.
    pub fn generation_id(&self) -> Digest {
        self.signed.generation_id()
    }

    /// The sequence number of that generation.
    pub fn sequence_number(&self) -> u32 {
        self.sequence_number
    }

    /// The body and signature as they came.
    pub fn signed(&self) -> &SignedBody {
        &self.signed
    }
}

fn check_live(
    body: &SignedBody,
    log: &KeyLog,
    now: Timestamp,
    window: Duration,
) -> Result<(), BodyError> {
    let (expected, found) = (log.identity(), body.identity());
    if found != expected {
        return Err(BodyError::Identity { expected, found });
    }
    let generation_id = body.generation_id();
    match log.stops_being_live(&generation_id, window) {
        None => Err(BodyError::UnknownGeneration { generation_id }),
        Some(lifetime) if lifetime.is_live(now) => Ok(()),
        Some(_) => Err(BodyError::NotLive { generation_id }),
    }
}
