//! Keeps a server's endorsement in Redis: writes each new one at once, and again whenever it is gone.

use std::time::Duration;

use hsmd_chain::{cesr::PublicKey, time::Timestamp};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{self, MissedTickBehavior},
};

use crate::{Endorsements, Purpose, StoreError};

/// What is to stand in Redis.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The endorsed key, under whose text the endorsement is stored.
    pub key: PublicKey,
    /// The endorsement as published, byte for byte.
    pub endorsement: String,
    /// When Redis drops it.
    pub expires_at: Timestamp,
}

/// A running task which sees to it that Redis holds the newest endorsement of one key. A flush, a
/// restart or an outage is repaired within `interval` after Redis is back. Dropping this ends the task;
/// what was published stays until it expires.
pub struct Publisher {
    task: JoinHandle<()>,
    published: watch::Receiver<bool>,
}

impl Publisher {
    /// Starts the task. `updates` carries what is to be published, nothing before the first and after a
    /// withdrawal (what stands in Redis then stays: it is dead to its verifiers); `publication`
    /// says how. `interval` is how often Redis is asked whether it still holds it.
    pub fn spawn<P: Purpose, T: Clone + Send + Sync + 'static>(
        endorsements: Endorsements<P>,
        mut updates: watch::Receiver<Option<T>>,
        publication: impl Fn(&T) -> Publication + Send + 'static,
        interval: Duration,
    ) -> Self {
        let (sender, published) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut ticks = time::interval(interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    changed = updates.changed() => if changed.is_err() { return },
                    _ = ticks.tick() => {}
                }
                let current = updates.borrow_and_update().clone();
                let Some(current) = current else {
                    sender.send_replace(false);
                    continue;
                };
                let outcome = ensure(&endorsements, &publication(&current)).await;
                report::<P>(sender.send_replace(outcome.is_ok()), outcome);
            }
        });
        Self { task, published }
    }

    /// Whether Redis held the newest endorsement when it was last asked.
    pub fn is_published(&self) -> bool {
        *self.published.borrow()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Logs the change from well to ill and back, not every attempt.
fn report<P: Purpose>(was_published: bool, outcome: Result<(), StoreError>) {
    match outcome {
        Err(error) if was_published => tracing::warn!(
            purpose = P::NAME,
            error = &error as &dyn std::error::Error,
            "Redis can't be told of our endorsed key; trying again"
        ),
        Ok(()) if !was_published => tracing::info!(purpose = P::NAME, "endorsed key published"),
        _ => {}
    }
}

async fn ensure<P: Purpose>(
    endorsements: &Endorsements<P>,
    wanted: &Publication,
) -> Result<(), StoreError> {
    if endorsements.find(&wanted.key).await?.as_deref() == Some(wanted.endorsement.as_bytes()) {
        return Ok(());
    }
    endorsements.publish(&wanted.key, &wanted.endorsement, wanted.expires_at).await
}
