//! Which servers' access keys are endorsed: Redis has the endorsements, the key log judges them.

use std::time::Duration;

use hsmd_chain::{PublicKey, Timestamp};
use hsmd_client::VerifiedLog;
use hsmd_protocol::store::{ServerKeys, StoreError};
use hsmd_store::{Access, Endorsements, Purpose};
use hsmd_support::chain;

use crate::EndorsementJudge;

/// How many endorsements are remembered: more than a fleet has servers.
const REMEMBERED: usize = 256;

/// The endorsed access keys. Each question goes to Redis, so a purged key is unknown at once, and to
/// the key log, so a tainted one is dead at once.
pub struct EndorsedServers {
    endorsements: Endorsements<Access>,
    judge: EndorsementJudge,
}

impl EndorsedServers {
    /// Reads endorsements from Redis and judges them by a log, with a look-back window: 12 h 15 min for
    /// applications, 24 h for auth.
    pub fn new(endorsements: Endorsements<Access>, log: VerifiedLog, window: Duration) -> Self {
        Self { endorsements, judge: EndorsementJudge::new(log, Access::NAME, window, REMEMBERED) }
    }
}

impl ServerKeys for EndorsedServers {
    /// The key log judges by its own clock.
    async fn is_endorsed(&self, key: &PublicKey, _now: Timestamp) -> Result<bool, StoreError> {
        let Some(text) = self.endorsements.find(key).await? else { return Ok(false) };
        let Err(refused) = self.judge.check(key, text) else { return Ok(true) };
        let refused = match refused.of_the_log() {
            Ok(error) => return Err(error.into()),
            Err(refused) => chain(&refused),
        };
        tracing::info!(%key, %refused, "refused a server key");
        Ok(false)
    }
}
