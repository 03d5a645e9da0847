//! A payload with the HSM's signature in either form: a body of its own, or a leaf of a batch.
//!
//! Readers parse and verify [`SignedPayload`]s and need not care which form they were given.

use std::time::Duration;

use crate::batch::{BatchFormError, BatchedSignature};
use crate::body::{BodyError, BodyFormError, SignedBody, VerifiedBody};
use crate::cesr::{Digest, PublicKey};
use crate::endorsement::{EndorsementError, VerifiedEndorsement};
use crate::log::KeyLog;
use crate::time::Timestamp;

/// A signed payload that was not checked yet, in either of its published forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedPayload {
    /// `{"body":…,"signature":…}`.
    Plain(SignedBody),
    /// `{"payload":…,"proof":…,"batch":…}`.
    Batched(BatchedSignature),
}

/// Why a text is no signed payload, in the form that it begins with.
#[derive(Debug, thiserror::Error)]
pub enum SignedFormError {
    /// It is no signed body.
    #[error("not a signed body")]
    Plain(#[source] BodyFormError),
    /// It is no batched signature.
    #[error("not a batched signature")]
    Batched(#[source] BatchFormError),
}

impl SignedPayload {
    /// Parses either published form. A batched signature has one text; around the members of a
    /// plain one, which are not signed, blanks are tolerated.
    pub fn parse(json: impl AsRef<[u8]>) -> Result<Self, SignedFormError> {
        let json = json.as_ref();
        if begins_batched(json) {
            BatchedSignature::parse(json).map(Self::Batched).map_err(SignedFormError::Batched)
        } else {
            SignedBody::parse(json).map(Self::Plain).map_err(SignedFormError::Plain)
        }
    }

    /// The payload's exact text.
    pub fn payload(&self) -> &str {
        match self {
            Self::Plain(signed) => signed.payload(),
            Self::Batched(item) => item.payload(),
        }
    }

    /// The body that was signed: that of the payload, or that of its batch.
    pub fn body(&self) -> &SignedBody {
        match self {
            Self::Plain(signed) => signed,
            Self::Batched(item) => item.batch().signed(),
        }
    }

    /// The identity that the body names.
    pub fn identity(&self) -> Digest {
        self.body().identity()
    }

    /// The generation that the body names as its signer.
    pub fn generation_id(&self) -> Digest {
        self.body().generation_id()
    }

    /// The published form, compact.
    pub fn to_json(&self) -> String {
        match self {
            Self::Plain(signed) => signed.to_json(),
            Self::Batched(item) => item.to_json(),
        }
    }

    /// Checks identity, that the generation is live at `now` with look-back `window`, and the
    /// signature; of a leaf also its proof and that its purpose is not reserved. The log remembers
    /// the batches that it verified: each further item of one costs hashes only. What else the
    /// payload says is the caller's affair.
    pub fn verify(
        &self,
        log: &KeyLog,
        now: Timestamp,
        window: Duration,
    ) -> Result<VerifiedBody, BodyError> {
        VerifiedBody::of(self, log, now, window)
    }

    /// Checks an endorsement completely: identity, generation live within `window` at `now`,
    /// signature, purpose, key, expiration later than `now`. `public_key` is the key that the
    /// endorsement was found under; another one inside is refused.
    pub fn verify_endorsement(
        &self,
        log: &KeyLog,
        purpose: &str,
        public_key: &PublicKey,
        now: Timestamp,
        window: Duration,
    ) -> Result<VerifiedEndorsement, EndorsementError> {
        VerifiedEndorsement::of(self, log, purpose, public_key, now, window)
    }
}

impl From<SignedBody> for SignedPayload {
    fn from(signed: SignedBody) -> Self {
        Self::Plain(signed)
    }
}

impl From<BatchedSignature> for SignedPayload {
    fn from(item: BatchedSignature) -> Self {
        Self::Batched(item)
    }
}

/// Whether the first member is one that only a batched signature has.
fn begins_batched(json: &[u8]) -> bool {
    let Some(members) = json.trim_ascii_start().strip_prefix(b"{") else { return false };
    let members = members.trim_ascii_start();
    ["\"payload\"", "\"proof\"", "\"batch\""]
        .iter()
        .any(|name| members.starts_with(name.as_bytes()))
}
