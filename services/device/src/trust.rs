//! Whom a device believes: servers whose response key our HSM endorses, as the keys service shows.
//!
//! The keys service itself is not trusted: log and endorsements prove themselves against the HSM's
//! identity. It can only withhold news, so the newest head seen is remembered.

use std::time::Duration;

use hsmd_chain::{Anchor, KeyLog, SignedPayload, cesr::PublicKey, time::Timestamp};

use crate::{
    error::DeviceError,
    http::{Answer, Http},
};

/// How long a replaced generation still counts for clients.
const LOOK_BACK: Duration = Duration::from_secs(12 * 60 * 60);

/// How far in the future an event of the log may lie.
const CLOCK_SKEW: Duration = Duration::from_secs(5);

/// The keys service and the identity that everything it says is verified against.
pub(crate) struct Trust<'a> {
    pub(crate) http: &'a Http,
    pub(crate) keys_url: &'a str,
    pub(crate) hsm: Anchor,
}

impl Trust<'_> {
    /// Checks that `key` is endorsed for replies now. `seen` is the newest head seen so far; the
    /// newest one now is returned, to be remembered.
    pub(crate) fn response_key(
        &self,
        key: &PublicKey,
        seen: Option<Anchor>,
        now: Timestamp,
    ) -> Result<Anchor, DeviceError> {
        let log = found(self.http.get(self.keys_url, "/hsm/keys")?)?;
        let log =
            KeyLog::verify_json(&log, &self.hsm, now, CLOCK_SKEW).map_err(DeviceError::Log)?;
        let seen = seen.filter(|seen| seen.identity() == log.identity());
        if seen.and_then(|seen| seen.head()).is_some_and(|head| !log.contains(&head)) {
            return Err(DeviceError::Rollback);
        }
        let endorsement = self.http.get(self.keys_url, &format!("/keys/{key}"))?;
        if endorsement.status == 404 {
            return Err(DeviceError::NotEndorsed);
        }
        SignedPayload::parse(&found(endorsement)?)
            .map_err(DeviceError::EndorsementForm)?
            .verify_endorsement(&log, "response", key, now, LOOK_BACK)
            .map_err(DeviceError::Endorsement)?;
        Ok(log.anchor())
    }
}

fn found(answer: Answer) -> Result<Vec<u8>, DeviceError> {
    match answer {
        Answer { status: 200, body, .. } => Ok(body),
        Answer { url, status, .. } => Err(DeviceError::NotAReply { url, status }),
    }
}
