//! Whom a device believes: servers whose response key our HSM endorses, as the keys service shows.
//!
//! The keys service itself is not trusted: log and endorsements prove themselves against the HSM's
//! identity. It can only withhold news, so the newest head seen is remembered.

use std::{sync::Arc, time::Duration};

use hsmd_chain::{Anchor, HeadError, KeyLog, SignedPayload, cesr::PublicKey, time::Timestamp};
use hsmd_client::{HttpLog, LogOptions, LogSource, Problem, VerifiedLog};

use crate::{
    error::DeviceError,
    http::{Answer, Http},
};

/// How long a replaced generation still counts for clients.
const LOOK_BACK: Duration = Duration::from_secs(12 * 60 * 60);

/// How soon a failed read of the log is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The keys service and the identity that everything it says is verified against.
pub(crate) struct Trust<'a> {
    pub(crate) http: &'a Http,
    pub(crate) keys_url: &'a str,
    pub(crate) hsm: Anchor,
    /// How long to wait for the log.
    pub(crate) timeout: Duration,
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
        let log = self.key_log()?;
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

    /// The key log as the keys service shows it now, verified as services do it.
    fn key_log(&self) -> Result<KeyLog, DeviceError> {
        let url = format!("{}/hsm/keys", self.keys_url.trim_end_matches('/'));
        let source = HttpLog::new(&url).map_err(DeviceError::KeysUrl)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(DeviceError::Runtime)?.block_on(async {
            let source = LogSource::Http(source);
            let log = VerifiedLog::follow(source, self.hsm, LogOptions::default())
                .map_err(DeviceError::Follow)?;
            tokio::select! {
                ready = log.ready() => ready.map_err(DeviceError::Log),
                problem = failed(&log, self.timeout) => Err(DeviceError::NoLog { url, problem }),
            }
        })
    }
}

/// The first failure to read the log that no waiting cures; after a while any, or none.
async fn failed(log: &VerifiedLog, wait: Duration) -> Option<Arc<Problem>> {
    let looked = async {
        loop {
            if let Some(problem) = log.problem().filter(|problem| !passes_soon(problem)) {
                return problem;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(wait, looked).await.ok().or_else(|| log.problem())
}

/// After an event the new key's first statement takes some seconds.
fn passes_soon(problem: &Problem) -> bool {
    matches!(
        problem,
        Problem::HttpStatus { status: 503, .. } | Problem::Head(HeadError::Behind { .. })
    )
}

fn found(answer: Answer) -> Result<Vec<u8>, DeviceError> {
    match answer {
        Answer { status: 200, body, .. } => Ok(body),
        Answer { url, status, .. } => Err(DeviceError::NotAReply { url, status }),
    }
}
