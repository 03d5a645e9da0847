//! What Postgres has decided, copied to Redis 2 and 3 for others to read.
//!
//! A revocation is written before its transaction commits, or it is refused: no user is told that a
//! device is revoked while applications still let it in. It is written again after the commit, because
//! a refill in between read Postgres before it. A refill follows whenever a copy is not complete.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hsmd_chain::{cesr::Digest, time::Timestamp};
use hsmd_service::random::nonce;
use hsmd_store::{Store, StoreError};

use crate::database::{Database, DatabaseError};

/// How much longer than a token lives a refill looks back: a transaction that revokes may have waited
/// while another one issued a token, and replicas' clocks differ.
const MARGIN: Duration = Duration::from_secs(60);

/// Why a copy could not be refilled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RefillError {
    #[error("Redis gave no answer")]
    Store(#[from] StoreError),
    #[error("Postgres gave no answer")]
    Database(#[from] DatabaseError),
    #[error("Redis was flushed or restarted meanwhile")]
    Interrupted,
}

/// The copies. Clones share them.
#[derive(Clone)]
pub(crate) struct Copies {
    store: Store,
    database: Database,
    /// How long a revocation is kept: a token's lifetime.
    keep_revoked: Duration,
    /// How long a used hash is kept: a session's lifetime.
    keep_used: Duration,
    /// A write after a commit has failed: a copy may lack an entry although it is marked complete.
    suspect: Arc<AtomicBool>,
}

impl Copies {
    pub(crate) fn new(
        store: Store,
        database: Database,
        keep_revoked: Duration,
        keep_used: Duration,
    ) -> Self {
        // Whatever happened while no auth server ran is made good by a first refill.
        let suspect = Arc::new(AtomicBool::new(true));
        Self { store, database, keep_revoked, keep_used, suspect }
    }

    /// Writes revocations, before the transaction that decides them commits.
    pub(crate) async fn revoke(&self, devices: &[Digest]) -> Result<(), StoreError> {
        for device in devices {
            self.store.revoked_devices.revoke(device, self.keep_revoked).await?;
        }
        Ok(())
    }

    /// Writes them again after the commit. A failure is made good by a refill.
    pub(crate) async fn revoked(&self, devices: &[Digest]) {
        let outcome = self.revoke(devices).await;
        self.note(outcome);
    }

    /// Writes a used hash, after the commit. A failure is made good by a refill.
    pub(crate) async fn used(&self, hash: &Digest) {
        let outcome = self.store.used_hashes.record(hash, self.keep_used).await;
        self.note(outcome);
    }

    /// Refills what is not complete, and sees to it that the next revocation could be written.
    pub(crate) async fn keep_complete(&self, now: Timestamp) -> Result<(), RefillError> {
        let suspect = self.suspect.swap(false, Ordering::AcqRel);
        let outcome = self.refill(suspect, now).await;
        if outcome.is_err() && suspect {
            self.suspect.store(true, Ordering::Release);
        }
        outcome
    }

    async fn refill(&self, suspect: bool, now: Timestamp) -> Result<(), RefillError> {
        if suspect || !self.store.revoked_devices.is_complete().await? {
            self.refill_revoked(now).await?;
        }
        if suspect || !self.store.used_hashes.is_complete().await? {
            self.refill_used(now).await?;
        }
        Ok(self.store.revoked_devices.try_write().await?)
    }

    async fn refill_revoked(&self, now: Timestamp) -> Result<(), RefillError> {
        let refill = self.store.revoked_devices.begin_refill(&nonce()).await?;
        let keep = self.keep_revoked + MARGIN;
        let since = now.checked_sub(keep).unwrap_or(Timestamp::MIN);
        let revoked = self.database.revoked_since(since).await?;
        let entries: Vec<_> = revoked
            .into_iter()
            .map(|(device, revoked_at)| {
                let left = revoked_at.saturating_add(keep).saturating_since(now);
                (device, left.min(self.keep_revoked))
            })
            .collect();
        finished(refill.finish(&entries).await?, "revoked devices", entries.len())
    }

    async fn refill_used(&self, now: Timestamp) -> Result<(), RefillError> {
        let refill = self.store.used_hashes.begin_refill(&nonce()).await?;
        let used = self.database.used_after(now).await?;
        let entries: Vec<_> =
            used.into_iter().map(|(hash, until)| (hash, until.saturating_since(now))).collect();
        finished(refill.finish(&entries).await?, "used hashes", entries.len())
    }

    fn note(&self, outcome: Result<(), StoreError>) {
        if let Err(error) = outcome {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "a copy in Redis lacks an entry; refilling");
            self.suspect.store(true, Ordering::Release);
        }
    }
}

fn finished(complete: bool, what: &str, entries: usize) -> Result<(), RefillError> {
    if !complete {
        return Err(RefillError::Interrupted);
    }
    tracing::info!(what, entries, "copied to Redis");
    Ok(())
}
