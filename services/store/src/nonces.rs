//! Database 5: the nonces of accepted requests, shared by all replicas of an application.

use std::time::Duration;

use hsmd_chain::{cesr::Nonce, time::Timestamp};
use redis::cmd;

use crate::{StoreError, link::Link};

/// Where the database says since when, and in which server process, it has remembered nonces. Nonces
/// begin with `0A`, so none can be called this.
const SINCE: &str = "since";

/// Atomic in Redis, and on Redis' clock alone, so that replicas need not agree about the time. Every
/// accepted stamp lies at most the skew ahead of that clock, so a database that began to remember at
/// `since` (it was flushed, or is another process: a restart may have loaded an old snapshot) can judge
/// stamps beyond `since` + skew, and no process can judge earlier ones. `attempt` makes a repetition after
/// a lost reply recognisable.
const USE: &str = "
local run_id, stamp, skew, keep, attempt =
  ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local run, since = string.match(redis.call('GET', KEYS[1]) or '', '^(%w+):(%d+)$')
since = tonumber(since)
if run ~= run_id or since > now then
  since = now
  redis.call('SET', KEYS[1], run_id .. ':' .. string.format('%d', now))
end
if not stamp then
  redis.call('SET', KEYS[1], run_id .. ':' .. string.format('%d', since))
  return now > since + skew and 'fresh' or 'unknown'
end
if stamp <= since + skew or stamp > now + skew then return 'unknown' end
local user = redis.call('GET', KEYS[2])
if user then return user == attempt and 'fresh' or 'used' end
redis.call('SET', KEYS[2], attempt, 'PX', keep)
return 'fresh'
";

/// What the database says of a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceUse {
    /// It was not used before; now this request has used it.
    Fresh,
    /// An earlier request had used it.
    Used,
    /// The database was flushed or restarted around the time of the request, so an earlier use may have
    /// been forgotten, or the request is stamped further ahead of Redis' clock than the skew. Later
    /// requests are not affected: this passes by itself, one skew after the loss.
    Unknown,
}

/// The used nonces. Each takes about 100 bytes for as long as the request that carried it could be
/// repeated; the service itself keeps none.
#[derive(Clone)]
pub struct Nonces {
    link: Link,
}

impl Nonces {
    pub(crate) fn new(link: Link) -> Self {
        Self { link }
    }

    /// Uses a nonce: at most one call in all replicas is told [`NonceUse::Fresh`]. `requested_at` is the
    /// request's own timestamp, which its signature covers; `window` is how old a request may be,
    /// `skew` how far ahead its timestamp may lie. `attempt` is a random value of this very call.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::TimedOut`] or [`StoreError::Refused`]: the request must
    /// be refused, and its nonce may count as used.
    pub async fn use_once(
        &self,
        nonce: &Nonce,
        requested_at: Timestamp,
        window: Duration,
        skew: Duration,
        attempt: &Nonce,
    ) -> Result<NonceUse, StoreError> {
        let stamp = requested_at.unix_millis().to_string();
        self.ask(nonce.as_str(), &stamp, window + skew, skew, attempt.as_str()).await
    }

    /// Whether a request made now could be decided: false for one `skew` after a flush or a restart.
    /// Also starts that while's clock, so a service asks it from its start on. It writes, as a request
    /// does.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::TimedOut`] or [`StoreError::Refused`]; `Refused` also
    /// if it takes no writes.
    pub async fn remember_enough(&self, skew: Duration) -> Result<bool, StoreError> {
        Ok(self.ask("", "", skew, skew, "").await? == NonceUse::Fresh)
    }

    async fn ask(
        &self,
        nonce: &str,
        stamp: &str,
        keep: Duration,
        skew: Duration,
        attempt: &str,
    ) -> Result<NonceUse, StoreError> {
        let (skew, keep) = (skew.as_millis().to_string(), keep.as_millis().max(1).to_string());
        let answer: String = self
            .link
            .query_with(|run_id| {
                let mut command = cmd("EVAL");
                command.arg(USE).arg(2).arg(SINCE).arg(nonce);
                command.arg(run_id).arg(stamp).arg(&skew).arg(&keep).arg(attempt);
                command
            })
            .await?;
        match answer.as_str() {
            "fresh" => Ok(NonceUse::Fresh),
            "used" => Ok(NonceUse::Used),
            "unknown" => Ok(NonceUse::Unknown),
            _ => Err(self.link.unexpected("an answer that the script does not give")),
        }
    }
}
