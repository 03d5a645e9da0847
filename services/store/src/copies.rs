//! Databases 2 and 3: what auth decided in Postgres, copied here for others to read.
//!
//! A copy that lost entries must not look like one that has none. So each database carries a marker,
//! which only a complete refill writes, and which is good for one Redis process: after a flush it is
//! gone, after a restart (which may have loaded an old snapshot) it names another process.
//!
//! For auth, the order that leaves no gap: write the copy before the transaction commits (a copy too
//! many only refuses; a crash right after the commit must not lose it) and again after it (a refill in
//! between had not seen it), and refill when [`RevokedDevices::is_complete`] says no, asked at start
//! and every second.

use std::time::Duration;

use hsmd_chain::cesr::{Digest, Nonce};
use redis::cmd;

use crate::{StoreError, link::Link};

/// The marker's name. Entries are digests and begin with `E`, so none can be called this.
const MARKER: &str = "complete";

/// What is written to see whether anything can be; no entry is called this either.
const PROBE: &str = "probe";

/// How long it stands.
const PROBE_MILLIS: u32 = 1000;

/// The most entries one command writes.
const PAGE: usize = 1000;

/// How long a refill may take before it has to begin again.
const REFILL_SECONDS: u64 = 60;

/// Writes the marker if no flush and no restart happened since the refill began, which is what its own
/// key tells: it was written by this refill into this process.
const FINISH: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[1])
return 1
";

/// What Redis 3 says of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceStatus {
    /// The copy is complete and does not name the device.
    Active,
    /// The device was revoked.
    Revoked,
    /// The copy is not complete: Redis was flushed or restarted and auth has not written again. The
    /// caller must refuse for now (503).
    Unknown,
}

/// Database 3: devices revoked within the lifetime of an access token. Auth writes, applications read.
#[derive(Clone)]
pub struct RevokedDevices(Copies);

/// Database 2: hashes of access keys that a refresh has used. Auth writes; what decides is Postgres.
#[derive(Clone)]
pub struct UsedHashes(Copies);

impl RevokedDevices {
    pub(crate) fn new(link: Link) -> Self {
        Self(Copies { link })
    }

    /// Records that a device is revoked, for `keep` (900 s: the access token's lifetime).
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::TimedOut`] or [`StoreError::Refused`]; repeating is
    /// harmless.
    pub async fn revoke(&self, device: &Digest, keep: Duration) -> Result<(), StoreError> {
        self.0.write(&[(*device, keep)]).await
    }

    /// What is known of a device, in one atomic look.
    ///
    /// # Errors
    /// When Redis gives no answer, which means the same as [`DeviceStatus::Unknown`].
    pub async fn status(&self, device: &Digest) -> Result<DeviceStatus, StoreError> {
        let (complete, named) = self.0.look(device.as_str()).await?;
        Ok(match (complete, named) {
            (_, true) => DeviceStatus::Revoked,
            (true, false) => DeviceStatus::Active,
            (false, false) => DeviceStatus::Unknown,
        })
    }

    /// Whether the copy is complete: false after a flush or a restart until somebody has refilled.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::TimedOut`] or [`StoreError::Refused`].
    pub async fn is_complete(&self) -> Result<bool, StoreError> {
        self.0.is_complete().await
    }

    /// Whether Redis takes writes: a full disk or memory, missing replicas, or a demotion to a replica
    /// would keep it from the next revocation.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if it takes no writes, [`StoreError::Unreachable`],
    /// [`StoreError::TimedOut`].
    pub async fn try_write(&self) -> Result<(), StoreError> {
        self.0.link.query(cmd("SET").arg(PROBE).arg("1").arg("PX").arg(PROBE_MILLIS)).await
    }

    /// Begins a refill; read Postgres after this, then call [`Refill::finish`]. `attempt` is a random
    /// value of this very refill.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::TimedOut`] or [`StoreError::Refused`].
    pub async fn begin_refill(&self, attempt: &Nonce) -> Result<Refill, StoreError> {
        self.0.begin_refill(attempt).await
    }
}

impl UsedHashes {
    pub(crate) fn new(link: Link) -> Self {
        Self(Copies { link })
    }

    /// Records that a hash was used, for `keep` (12 h: the refresh lifetime).
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::TimedOut`] or [`StoreError::Refused`]; repeating is
    /// harmless.
    pub async fn record(&self, hash: &Digest, keep: Duration) -> Result<(), StoreError> {
        self.0.write(&[(*hash, keep)]).await
    }

    /// Whether the copy names the hash. A no decides nothing: that is Postgres' to say.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::TimedOut`] or [`StoreError::Refused`].
    pub async fn names(&self, hash: &Digest) -> Result<bool, StoreError> {
        Ok(self.0.look(hash.as_str()).await?.1)
    }

    /// Whether the copy is complete: false after a flush or a restart until somebody has refilled.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::TimedOut`] or [`StoreError::Refused`].
    pub async fn is_complete(&self) -> Result<bool, StoreError> {
        self.0.is_complete().await
    }

    /// Begins a refill; read Postgres after this, then call [`Refill::finish`]. `attempt` is a random
    /// value of this very refill.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::TimedOut`] or [`StoreError::Refused`].
    pub async fn begin_refill(&self, attempt: &Nonce) -> Result<Refill, StoreError> {
        self.0.begin_refill(attempt).await
    }
}

/// A refill that has begun: what Postgres holds *from now on* may be written with it.
#[must_use = "a refill that is not finished leaves the copy incomplete"]
pub struct Refill {
    copies: Copies,
    attempt: Nonce,
}

impl Refill {
    /// Writes everything that Postgres holds, each entry with the time it has left, and then the marker.
    /// False when Redis was flushed or restarted since the refill began: begin again.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::TimedOut`] or [`StoreError::Refused`]; the copy stays
    /// incomplete and the refill has to begin again.
    pub async fn finish(self, entries: &[(Digest, Duration)]) -> Result<bool, StoreError> {
        self.copies.write(entries).await?;
        let name = self.name();
        let written: u8 = self
            .copies
            .link
            .query_with(|run_id| {
                let mut command = cmd("EVAL");
                command.arg(FINISH).arg(2).arg(&name).arg(MARKER).arg(run_id);
                command
            })
            .await?;
        if written == 1 {
            return Ok(true);
        }
        // A repetition after a lost reply finds its own work done.
        self.copies.is_complete().await
    }

    fn name(&self) -> String {
        format!("refill:{}", self.attempt.as_str())
    }
}

/// A database of digests with a marker of completeness.
#[derive(Clone)]
struct Copies {
    link: Link,
}

impl Copies {
    async fn write(&self, entries: &[(Digest, Duration)]) -> Result<(), StoreError> {
        const WRITE: &str =
            "for i = 1, #KEYS do redis.call('SET', KEYS[i], '1', 'PX', ARGV[i]) end";
        for page in entries.chunks(PAGE) {
            let mut command = cmd("EVAL");
            command.arg(WRITE).arg(page.len());
            for (digest, _) in page {
                command.arg(digest.as_str());
            }
            for (_, keep) in page {
                command.arg(keep.as_millis().max(1).to_string());
            }
            self.link.query::<()>(&command).await?;
        }
        Ok(())
    }

    /// Whether the copy is complete and whether it names something, both at one instant.
    async fn look(&self, name: &str) -> Result<(bool, bool), StoreError> {
        const LOOK: &str = "
return {redis.call('GET', KEYS[1]) == ARGV[1] and 1 or 0, redis.call('EXISTS', KEYS[2])}";
        let (complete, named): (u8, u8) = self
            .link
            .query_with(|run_id| {
                let mut command = cmd("EVAL");
                command.arg(LOOK).arg(2).arg(MARKER).arg(name).arg(run_id);
                command
            })
            .await?;
        Ok((complete == 1, named == 1))
    }

    async fn is_complete(&self) -> Result<bool, StoreError> {
        Ok(self.look("").await?.0)
    }

    async fn begin_refill(&self, attempt: &Nonce) -> Result<Refill, StoreError> {
        let refill = Refill { copies: self.clone(), attempt: *attempt };
        let name = refill.name();
        self.link
            .query_with::<()>(|run_id| {
                let mut command = cmd("SET");
                command.arg(&name).arg(run_id).arg("EX").arg(REFILL_SECONDS);
                command
            })
            .await?;
        Ok(refill)
    }
}
