//! Which servers' access keys are endorsed: Redis has the endorsements, the key log judges them.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use hsmd_chain::{PublicKey, SignedPayload, Timestamp, VerifiedEndorsement};
use hsmd_client::{CheckError, VerifiedLog};
use hsmd_protocol::store::{ServerKeys, StoreError};
use hsmd_store::{Access, Endorsements, Purpose};

/// How many verified endorsements are remembered: more than a fleet has servers.
const REMEMBERED: usize = 256;

/// The endorsed access keys. Each question goes to Redis, so a purged key is unknown at once, and to
/// the key log, so a tainted one is dead at once; only the signature over a text that was verified
/// before is not verified again.
pub struct EndorsedServers {
    endorsements: Endorsements<Access>,
    log: VerifiedLog,
    /// How far back a generation may have ended: 12 h 15 min for applications, 24 h for auth.
    window: Duration,
    /// Verified endorsements and their texts. A plain mutex, never held across an await.
    verified: Mutex<HashMap<PublicKey, (Vec<u8>, VerifiedEndorsement)>>,
}

impl EndorsedServers {
    /// Reads endorsements from Redis and judges them by a log, with a look-back window.
    pub fn new(endorsements: Endorsements<Access>, log: VerifiedLog, window: Duration) -> Self {
        Self { endorsements, log, window, verified: Mutex::default() }
    }

    /// The verified endorsement of this very text, if it is remembered.
    fn remembered(&self, key: &PublicKey, text: &[u8]) -> Option<VerifiedEndorsement> {
        let verified = self.verified.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (known, endorsement) = verified.get(key)?;
        (known == text).then(|| endorsement.clone())
    }

    fn remember(&self, key: PublicKey, text: Vec<u8>, endorsement: VerifiedEndorsement) {
        let mut verified = self.verified.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if verified.len() >= REMEMBERED {
            verified.clear();
        }
        verified.insert(key, (text, endorsement));
    }

    fn check(&self, key: &PublicKey, text: Vec<u8>) -> Result<bool, StoreError> {
        let judged = if let Some(endorsement) = self.remembered(key, &text) {
            self.log.recheck_endorsement(&endorsement, self.window)
        } else {
            let signed = match SignedPayload::parse(&text) {
                Ok(signed) => signed,
                Err(error) => {
                    tracing::warn!(%key, %error, "Redis holds a damaged endorsement");
                    return Ok(false);
                }
            };
            self.log
                .check_endorsement(&signed, Access::NAME, key, self.window)
                .map(|endorsement| self.remember(*key, text, endorsement))
        };
        match judged {
            Ok(()) => Ok(true),
            Err(error @ (CheckError::Stale { .. } | CheckError::Terminal(_))) => Err(error.into()),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(tracing::field::display);
                tracing::info!(%key, %error, cause, "refused a server key");
                Ok(false)
            }
        }
    }
}

impl ServerKeys for EndorsedServers {
    /// The key log judges by its own clock.
    async fn is_endorsed(&self, key: &PublicKey, _now: Timestamp) -> Result<bool, StoreError> {
        match self.endorsements.find(key).await? {
            Some(text) => self.check(key, text),
            None => Ok(false),
        }
    }
}
