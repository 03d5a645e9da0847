//! Endorsements as Redis holds them, judged by the key log: whether a key's is good for a purpose now.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hsmd_chain::{PublicKey, SignedPayload, VerifiedEndorsement, signed_payload::SignedFormError};
use hsmd_client::{CheckError, VerifiedLog};

/// A judge of endorsements. Each question goes to the key log, so a tainted key is dead at once; only the
/// signature over a text that was verified before is not verified again.
pub struct EndorsementJudge {
    log: VerifiedLog,
    purpose: &'static str,
    /// How far back a generation may have ended.
    window: Duration,
    /// How many verified endorsements are remembered.
    capacity: usize,
    /// Verified endorsements and their texts. A plain mutex, never held across an await.
    verified: Mutex<HashMap<PublicKey, (Vec<u8>, VerifiedEndorsement)>>,
}

/// Why a stored text is not good for a key now.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is no endorsement at all.
    #[error("Redis holds a damaged endorsement")]
    Damaged(#[source] SignedFormError),
    /// It does not hold, or the key log can't be relied on.
    #[error(transparent)]
    Check(#[from] CheckError),
}

impl Refused {
    /// What is wrong with the key log, if the fault is not the endorsement's.
    ///
    /// # Errors
    /// This refusal, if it is the endorsement's.
    pub fn of_the_log(self) -> Result<CheckError, Self> {
        match self {
            Self::Check(error @ (CheckError::Stale { .. } | CheckError::Terminal(_))) => Ok(error),
            other => Err(other),
        }
    }
}

impl EndorsementJudge {
    /// Judges by a log, with a look-back window, and remembers at most `capacity` verified endorsements: as many
    /// as are asked about again and again.
    #[must_use]
    pub fn new(log: VerifiedLog, purpose: &'static str, window: Duration, capacity: usize) -> Self {
        Self { log, purpose, window, capacity, verified: Mutex::default() }
    }

    /// Checks that a stored text is the key's endorsement and holds now.
    ///
    /// # Errors
    /// It is not or does not, or the key log can't be relied on now.
    pub fn check(&self, key: &PublicKey, text: Vec<u8>) -> Result<(), Refused> {
        if let Some(endorsement) = self.remembered(key, &text) {
            return Ok(self.log.recheck_endorsement(&endorsement, self.window)?);
        }
        let signed = SignedPayload::parse(&text).map_err(Refused::Damaged)?;
        let good = self.log.check_endorsement(&signed, self.purpose, key, self.window)?;
        self.remember(*key, text, good);
        Ok(())
    }

    /// The verified endorsement of this very text, if it is remembered.
    fn remembered(&self, key: &PublicKey, text: &[u8]) -> Option<VerifiedEndorsement> {
        let verified = self.verified();
        let (known, endorsement) = verified.get(key)?;
        (known == text).then(|| endorsement.clone())
    }

    fn remember(&self, key: PublicKey, text: Vec<u8>, endorsement: VerifiedEndorsement) {
        let mut verified = self.verified();
        if verified.len() >= self.capacity {
            verified.clear();
        }
        verified.insert(key, (text, endorsement));
    }

    fn verified(&self) -> MutexGuard<'_, HashMap<PublicKey, (Vec<u8>, VerifiedEndorsement)>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
