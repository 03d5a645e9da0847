//! Endorsements: bodies whose payload names a service's short-lived key (docs/formats.md §3).

mod payload;

pub use payload::{EndorsementPayload, EndorsementPayloadError, MAX_PURPOSE};

use std::time::Duration;

use crate::body::{BodyError, SignedBody, VerifiedBody};
use crate::cesr::{Digest, PublicKey};
use crate::log::KeyLog;
use crate::signed_payload::SignedPayload;
use crate::time::Timestamp;

/// The proof that a key was endorsed for a purpose, alone or in a batch: made by
/// [`SignedPayload::verify_endorsement`] and its like on a [`SignedBody`] only. It speaks of the moment of the check;
/// [`recheck`](Self::recheck) repeats what time and the log can change, without the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedEndorsement {
    body: VerifiedBody,
    payload: EndorsementPayload,
}

/// Why a signed body is not the endorsement that was looked for.
#[derive(Debug, thiserror::Error)]
pub enum EndorsementError {
    /// The body itself does not verify.
    #[error("the endorsement does not verify")]
    Body(#[source] BodyError),
    /// The payload is not that of an endorsement.
    #[error("the payload is no endorsement")]
    Payload(#[source] EndorsementPayloadError),
    /// The endorsement is for another purpose.
    #[error("endorsed for {found}, not for {expected}")]
    Purpose {
        /// The purpose looked for.
        expected: String,
        /// The purpose endorsed.
        found: String,
    },
    /// The endorsement names another key.
    #[error("endorses {found}, not {expected}")]
    PublicKey {
        /// The key looked for.
        expected: Box<PublicKey>,
        /// The key endorsed.
        found: Box<PublicKey>,
    },
    /// The endorsement has expired.
    #[error("expired at {expiration}")]
    Expired {
        /// The first instant at which it no longer holds.
        expiration: Timestamp,
    },
}

impl SignedBody {
    /// As [`SignedPayload::verify_endorsement`].
    pub fn verify_endorsement(
        &self,
        log: &KeyLog,
        purpose: &str,
        public_key: &PublicKey,
        now: Timestamp,
        window: Duration,
    ) -> Result<VerifiedEndorsement, EndorsementError> {
        VerifiedEndorsement::of(&self.clone().into(), log, purpose, public_key, now, window)
    }
}

impl VerifiedEndorsement {
    pub(crate) fn of(
        signed: &SignedPayload,
        log: &KeyLog,
        purpose: &str,
        public_key: &PublicKey,
        now: Timestamp,
        window: Duration,
    ) -> Result<Self, EndorsementError> {
        let body = signed.verify(log, now, window).map_err(EndorsementError::Body)?;
        let payload =
            EndorsementPayload::parse(body.payload()).map_err(EndorsementError::Payload)?;
        if payload.purpose() != purpose {
            let found = payload.purpose().to_owned();
            return Err(EndorsementError::Purpose { expected: purpose.to_owned(), found });
        }
        if payload.public_key() != public_key {
            return Err(EndorsementError::PublicKey {
                expected: Box::new(*public_key),
                found: Box::new(*payload.public_key()),
            });
        }
        let endorsement = Self { body, payload };
        endorsement.check_expiration(now)?;
        Ok(endorsement)
    }

    /// Checks again that the generation is live and the endorsement not expired. `log` may be a
    /// later state of the log that the endorsement was verified against.
    pub fn recheck(
        &self,
        log: &KeyLog,
        now: Timestamp,
        window: Duration,
    ) -> Result<(), EndorsementError> {
        self.body.recheck(log, now, window).map_err(EndorsementError::Body)?;
        self.check_expiration(now)
    }

    /// What the endorsement is for.
    pub fn purpose(&self) -> &str {
        self.payload.purpose()
    }

    /// The endorsed key.
    pub fn public_key(&self) -> &PublicKey {
        self.payload.public_key()
    }

    /// The first instant at which the endorsement no longer holds.
    pub fn expiration(&self) -> Timestamp {
        self.payload.expiration()
    }

    /// The generation whose key signed the endorsement.
    pub fn generation_id(&self) -> Digest {
        self.body.generation_id()
    }

    /// The verified body.
    pub fn body(&self) -> &VerifiedBody {
        &self.body
    }

    fn check_expiration(&self, now: Timestamp) -> Result<(), EndorsementError> {
        let expiration = self.payload.expiration();
        if expiration > now { Ok(()) } else { Err(EndorsementError::Expired { expiration }) }
    }
}
