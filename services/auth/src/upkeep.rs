//! What runs beside the requests: the tables are made, the copies kept complete, old rows purged.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hsmd_client::Clock;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use crate::{copies::Copies, database::Database};

/// How often the copies and the database are looked after: how long a flush of Redis goes unnoticed.
const TICK: Duration = Duration::from_secs(1);

/// How often old rows are removed.
const PURGE: Duration = Duration::from_secs(60);

/// The running upkeep; it ends when this is dropped.
pub(crate) struct Upkeep {
    problems: Arc<Mutex<Vec<String>>>,
    _task: AbortOnDropHandle<()>,
}

struct Worker {
    database: Database,
    copies: Copies,
    clock: Clock,
    challenge: Duration,
    problems: Arc<Mutex<Vec<String>>>,
}

impl Upkeep {
    pub(crate) fn start(
        database: Database,
        copies: Copies,
        clock: Clock,
        challenge: Duration,
    ) -> Self {
        let starting = vec!["the database has not been reached yet".to_owned()];
        let problems = Arc::new(Mutex::new(starting));
        let worker = Worker { database, copies, clock, challenge, problems: Arc::clone(&problems) };
        Self { problems, _task: AbortOnDropHandle::new(tokio::spawn(worker.run())) }
    }

    /// What was wrong when it was last looked at, as public sentences.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Worker {
    async fn run(self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut migrated = false;
        let mut purged: Option<Instant> = None;
        loop {
            ticks.tick().await;
            let mut problems = Vec::new();
            let database = match migrated {
                false => self.database.migrate().await,
                true => self.database.ping().await,
            };
            migrated |= database.is_ok();
            note(database, "the database can't be used, or lacks its tables", &mut problems);
            if migrated {
                let copied = self.copies.keep_complete(self.clock.now()).await;
                note(copied, "Redis lacks copies of revocations", &mut problems);
            }
            if migrated && purged.is_none_or(|at| at.elapsed() >= PURGE) {
                let outcome = self.database.purge(self.clock.now(), self.challenge).await;
                note(outcome, "old rows can't be removed", &mut Vec::new());
                purged = Some(Instant::now());
            }
            self.publish(problems);
        }
    }

    /// Shows the problems, and logs the change from well to ill and back.
    fn publish(&self, problems: Vec<String>) {
        let mut shown = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        if *shown != problems {
            if problems.is_empty() {
                tracing::info!("health check passing");
            } else {
                tracing::warn!(?problems, "health check failing");
            }
        }
        *shown = problems;
    }
}

fn note<E: std::error::Error + 'static>(
    outcome: Result<(), E>,
    sentence: &str,
    problems: &mut Vec<String>,
) {
    if let Err(error) = outcome {
        let error: &dyn std::error::Error = &error;
        tracing::debug!(error, "{sentence}");
        problems.push(sentence.to_owned());
    }
}
