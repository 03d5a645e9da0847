//! What runs beside the requests: the tables are made, the database tried, expired rows removed.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hsmd_chain::Timestamp;
use hsmd_client::Clock;
use hsmd_support::chain;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    database::{Database, DatabaseError},
    passwords::Passwords,
    time::Time,
};

/// How often the database is tried.
const TICK: Duration = Duration::from_secs(1);

/// How often expired rows are removed, and how many of a table at once.
const PURGE: Duration = Duration::from_secs(60);
const PURGED_ROWS: i64 = 1000;

/// Replicas' clocks may differ: what one still accepts another must not remove.
const MARGIN: Duration = Duration::from_secs(10 * 60);

/// The running upkeep; it ends when this is dropped.
pub(crate) struct Upkeep {
    problem: Arc<Mutex<Option<String>>>,
    migrated: watch::Receiver<bool>,
    _task: AbortOnDropHandle<()>,
}

struct Worker {
    database: Database,
    passwords: Passwords,
    clock: Clock,
    problem: Arc<Mutex<Option<String>>>,
    migrated: watch::Sender<bool>,
}

impl Upkeep {
    pub(crate) fn start(database: Database, passwords: Passwords, clock: Clock) -> Self {
        let starting = format!("the database at {} has not been reached yet", database.address());
        let problem = Arc::new(Mutex::new(Some(starting)));
        let (sender, migrated) = watch::channel(false);
        let worker =
            Worker { database, passwords, clock, problem: Arc::clone(&problem), migrated: sender };
        Self { problem, migrated, _task: AbortOnDropHandle::new(tokio::spawn(worker.run())) }
    }

    /// Becomes true when the tables are there.
    pub(crate) fn migrated(&self) -> watch::Receiver<bool> {
        self.migrated.clone()
    }

    /// What was wrong when it was last looked at, as a public sentence.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
            let outcome = match migrated {
                false => self.database.migrate().await,
                true => self.database.ping().await,
            };
            if outcome.is_ok() && !migrated {
                migrated = true;
                self.migrated.send_replace(true);
            }
            let well = outcome.is_ok();
            self.publish(outcome);
            if well && purged.is_none_or(|at| at.elapsed() >= PURGE) {
                purged = Some(Instant::now());
                if let Err(error) = self.purge().await {
                    tracing::warn!(error = %chain(&error), "expired rows can't be removed");
                }
            }
        }
    }

    /// Shows the problem, and logs the change from well to ill and back.
    fn publish(&self, outcome: Result<(), DatabaseError>) {
        let address = self.database.address().to_owned();
        let problem =
            outcome.as_ref().err().map(|_| format!("the database at {address} can't be used"));
        let mut shown = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.is_some() != problem.is_some() || (problem.is_some() && *shown != problem) {
            match &outcome {
                Ok(()) => tracing::info!(address, "health check passing"),
                Err(error) => {
                    tracing::warn!(address, error = %chain(error), "health check failing")
                }
            }
        }
        *shown = problem;
    }

    /// Removes a bounded number of rows that no request looks at any more.
    async fn purge(&self) -> Result<(), sqlx::Error> {
        let pool = self.database.pool();
        let before = self.clock.now().checked_sub(MARGIN).unwrap_or(Timestamp::MIN);
        for statement in [
            "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at < $1 LIMIT $2)",
            "DELETE FROM links WHERE hash IN (SELECT hash FROM links WHERE expires_at < $1 LIMIT $2)",
            "DELETE FROM attempts WHERE key IN (SELECT key FROM attempts \
               WHERE last_at < $1 - interval '1 hour' AND blocked_until < $1 LIMIT $2)",
        ] {
            sqlx::query(statement).bind(Time(before)).bind(PURGED_ROWS).execute(pool).await?;
        }
        let scrypt = "SELECT EXISTS (SELECT 1 FROM credentials WHERE password_hash NOT LIKE '$%')";
        self.passwords.scrypt_remains(sqlx::query_scalar(scrypt).fetch_one(pool).await?);
        Ok(())
    }
}
