//! Mirrors the verified log into Redis 4: each event at once, all of them again when some are gone. What
//! else is in that database goes: it is ours alone, and readers take everything in it for the log.

use std::{collections::HashSet, sync::Arc, time::Duration};

use hsmd_chain::{Digest, KeyLog};
use hsmd_client::VerifiedLog;
use hsmd_store::{MirroredLog, StoreError};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{self, MissedTickBehavior},
};

/// How often Redis is asked whether it still holds everything.
const CHECK: Duration = Duration::from_secs(1);

/// After how many such questions everything is written again regardless, in case values were damaged.
const REWRITE: u32 = 60;

/// How many foreign entries are removed in one look; the next look takes more.
const REMOVED_AT_ONCE: usize = 1000;

/// How many of them the log names.
const NAMED: usize = 3;

/// The running mirror. Clones share it; the last one dropped ends it, and what was mirrored stays.
#[derive(Clone)]
pub(crate) struct Mirror {
    /// What keeps the mirror from being complete, as a public sentence.
    problem: watch::Receiver<Option<String>>,
    _task: Arc<Task>,
}

struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Mirror {
    pub(crate) fn spawn(log: VerifiedLog, redis: MirroredLog) -> Self {
        let (sender, problem) = watch::channel(Some("the key log is not mirrored yet".to_owned()));
        Self { problem, _task: Arc::new(Task(tokio::spawn(run(log, redis, sender)))) }
    }

    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.borrow().clone()
    }
}

async fn run(verified: VerifiedLog, redis: MirroredLog, problem: watch::Sender<Option<String>>) {
    let mut changes = verified.changes();
    let mut ticks = time::interval(CHECK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut mirrored = 0;
    let mut age = 0;
    loop {
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            _ = ticks.tick() => age += 1,
        }
        let Some(log) = changes.borrow_and_update().clone() else { continue };
        if age >= REWRITE {
            (mirrored, age) = (0, 0);
        }
        let written = async {
            // A log that may be old lacks events that another replica has written, a taint perhaps.
            if mirrored == 0 && verified.fresh().is_ok() {
                remove_others(&log, &redis).await?;
            }
            write(&log, mirrored, &redis).await
        };
        match written.await {
            Ok(()) => {
                mirrored = log.events().len();
                if problem.send_replace(None).is_some() {
                    tracing::info!(events = mirrored, "key log mirrored");
                }
            }
            Err(error) => {
                let sentence = error.to_string();
                if problem.send_replace(Some(sentence)).is_none() {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the key log can't be mirrored; trying again");
                }
            }
        }
    }
}

/// Removes what is no event of this log: another identity's log, or what somebody put there.
async fn remove_others(log: &KeyLog, redis: &MirroredLog) -> Result<(), StoreError> {
    let ids: HashSet<Digest> = log.events().iter().map(|event| event.event().id()).collect();
    loop {
        let others = redis.others(&ids, REMOVED_AT_ONCE).await?;
        if others.is_empty() {
            return Ok(());
        }
        let names: Vec<_> =
            others.iter().take(NAMED).map(|name| String::from_utf8_lossy(name)).collect();
        tracing::warn!(
            count = others.len(),
            names = ?names,
            "Redis 4 holds what is no event of this log: it is removed"
        );
        redis.remove(&others).await?;
    }
}

/// Writes the events from number `mirrored` on, and all if Redis lost one of the earlier ones.
async fn write(log: &KeyLog, mirrored: usize, redis: &MirroredLog) -> Result<(), StoreError> {
    let ids: Vec<Digest> = log.events().iter().map(|event| event.event().id()).collect();
    let (old, new) = ids.split_at(mirrored.min(ids.len()));
    let from = if redis.holds_all(old).await? { old.len() } else { 0 };
    if from == old.len() && new.is_empty() {
        return Ok(());
    }
    let events: Vec<(Digest, String)> =
        log.events()[from..].iter().map(|event| (event.event().id(), event.to_json())).collect();
    redis.store(&events).await
}
