//! The liveness of a token: when it last made a good signature, and since when a call has been running.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::observe::metrics::TokenMetrics;
use crate::token::TokenError;

/// Written by the token's thread, read by others without a lock.
#[derive(Debug)]
pub struct Liveness {
    metrics: TokenMetrics,
    epoch: Instant,
    /// Microseconds after the epoch, plus one; 0 is never.
    last_good: AtomicU64,
    /// When the running call began, likewise; 0 is none.
    signing_since: AtomicU64,
    working_since: AtomicU64,
    /// How many microseconds the last good signature took.
    last_took: AtomicU64,
    /// When the token's thread last began a step of its loop.
    stepped: AtomicU64,
}

impl Liveness {
    pub fn new(metrics: TokenMetrics) -> Self {
        Self {
            metrics,
            epoch: Instant::now(),
            last_good: AtomicU64::new(0),
            signing_since: AtomicU64::new(0),
            working_since: AtomicU64::new(0),
            last_took: AtomicU64::new(u64::MAX),
            stepped: AtomicU64::new(1),
        }
    }

    /// How long ago the last good signature was made.
    pub fn last_good(&self) -> Option<Duration> {
        self.since(&self.last_good)
    }

    /// How long the last good signature took; very long when there was none.
    pub fn last_took(&self) -> Duration {
        Duration::from_micros(self.last_took.load(Ordering::Relaxed))
    }

    /// How long the running signature has taken so far.
    pub fn signing_for(&self) -> Option<Duration> {
        self.since(&self.signing_since)
    }

    /// How long other work on the token (key generation, opening) has taken so far.
    pub fn working_for(&self) -> Option<Duration> {
        self.since(&self.working_since)
    }

    /// How long ago the token's thread last began to work or found nothing to do. It grows only when a
    /// call does not return, or the thread is dead.
    pub fn last_step(&self) -> Duration {
        self.since(&self.stepped).unwrap_or_default()
    }

    pub fn step(&self) {
        self.stepped.store(self.now(), Ordering::Release);
    }

    pub fn begin_signing(&self) {
        self.signing_since.store(self.now(), Ordering::Release);
    }

    pub fn end_signing(&self, good: bool) {
        let now = self.now();
        let since = self.signing_since.swap(0, Ordering::AcqRel);
        if good {
            self.last_good.store(now, Ordering::Release);
            if since > 0 {
                let took = Duration::from_micros(now.saturating_sub(since));
                self.last_took.store(now.saturating_sub(since), Ordering::Relaxed);
                self.metrics.hsm_seconds.observe(took.as_secs_f64());
            }
        }
    }

    /// Notes how long a request waited.
    pub fn waited(&self, time: Duration) {
        self.metrics.queue_seconds.observe(time.as_secs_f64());
    }

    /// Notes how many leaves a tree has.
    pub fn tree(&self, leaves: usize) {
        self.metrics.tree_leaves.observe(leaves as f64);
    }

    /// Counts an error, by its return code where it has one.
    pub fn error(&self, error: &TokenError) {
        self.metrics.error(&error.label());
    }

    /// Counts a lost session that was opened again.
    pub fn recovered(&self) {
        self.metrics.recoveries.inc();
    }

    pub fn begin_work(&self) {
        self.working_since.store(self.now(), Ordering::Release);
    }

    pub fn end_work(&self) {
        self.working_since.store(0, Ordering::Release);
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_micros() as u64 + 1
    }

    fn since(&self, cell: &AtomicU64) -> Option<Duration> {
        match cell.load(Ordering::Acquire) {
            0 => None,
            at => Some(Duration::from_micros(self.now().saturating_sub(at))),
        }
    }
}
