//! Checking a signed payload against a key log.

use std::time::Duration;

use super::SignedBody;
use crate::batch::ProofError;
use crate::cesr::Digest;
use crate::log::KeyLog;
use crate::payload::is_reserved;
use crate::signed_payload::SignedPayload;
use crate::time::Timestamp;

/// The proof that a payload was signed, alone or in a batch, by a generation of the log that was
/// live: made by [`SignedPayload::verify`] and [`SignedBody::verify`] only. It speaks of the moment
/// of the check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedBody {
    signed: SignedPayload,
    sequence_number: u32,
}

/// Why a well-formed signed payload is not to be believed, in the order of the checks.
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
    /// The payload is not the leaf of the batch that it is said to be.
    #[error("the payload is not the leaf of the batch")]
    Proof(#[source] ProofError),
    /// The payload of a batch has a purpose that no leaf may have.
    #[error("the purpose {purpose} of the leaf is reserved")]
    ReservedLeaf {
        /// The leaf's purpose.
        purpose: String,
    },
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
        VerifiedBody::of(&self.clone().into(), log, now, window)
    }
}

impl VerifiedBody {
    pub(crate) fn of(
        signed: &SignedPayload,
        log: &KeyLog,
        now: Timestamp,
        window: Duration,
    ) -> Result<Self, BodyError> {
        let body = signed.body();
        check_live(body, log, now, window)?;
        let generation_id = body.generation_id();
        let generation =
            log.generation(&generation_id).ok_or(BodyError::UnknownGeneration { generation_id })?;
        let event = generation.event();
        let key = event.public_key();
        match signed {
            SignedPayload::Plain(_) => key.verify(body.text().as_bytes(), body.signature()),
            SignedPayload::Batched(_) => log.batches().verify(body, key),
        }
        .map_err(|_| BodyError::Signature)?;
        if let SignedPayload::Batched(item) = signed {
            item.check_proof().map_err(BodyError::Proof)?;
            if let Some(purpose) = item.purpose().filter(|purpose| is_reserved(purpose)) {
                return Err(BodyError::ReservedLeaf { purpose: purpose.to_owned() });
            }
        }
        Ok(Self { signed: signed.clone(), sequence_number: event.sequence_number() })
    }

    /// Checks again that the generation is live, without the signature. `log` may be a later state
    /// of the log that the body was verified against.
    pub fn recheck(&self, log: &KeyLog, now: Timestamp, window: Duration) -> Result<(), BodyError> {
        check_live(self.signed.body(), log, now, window)
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

    /// The payload and signature as they came.
    pub fn signed(&self) -> &SignedPayload {
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
