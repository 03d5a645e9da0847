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
    passwords::{HashKind, Passwords},
    time::Time,
};

/// How often the database is tried.
const TICK: Duration = Duration::from_secs(1);

/// After which the database counts as lost though no try of it has failed.
const LONGEST_WITHOUT_ANSWER: Duration = Duration::from_secs(30);

/// How often expired rows are removed, and how many of a table at once. While more remain, each tick removes
/// as many.
const PURGE: Duration = Duration::from_secs(60);
const PURGED_ROWS: u16 = 1000;

/// Replicas' clocks may differ: what one still accepts another must not remove.
const MARGIN: Duration = Duration::from_secs(10 * 60);

/// The running upkeep; it ends when this is dropped.
pub(crate) struct Upkeep {
    health: Arc<Mutex<Health>>,
    /// Where the database is.
    address: String,
    migrated: watch::Receiver<bool>,
    _task: AbortOnDropHandle<()>,
}

/// What was found when the database was last tried.
struct Health {
    problem: Option<String>,
    /// When that ended.
    at: Instant,
}

/// Whether a purge has left expired rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum More {
    Remain,
    None,
}

struct Worker {
    database: Database,
    passwords: Passwords,
    clock: Clock,
    health: Arc<Mutex<Health>>,
    migrated: watch::Sender<bool>,
}

impl Upkeep {
    pub(crate) fn start(database: Database, passwords: Passwords, clock: Clock) -> Self {
        let address = database.address().to_owned();
        let starting = format!("the database at {address} has not been reached yet");
        let health = Health { problem: Some(starting), at: Instant::now() };
        let health = Arc::new(Mutex::new(health));
        let (sender, migrated) = watch::channel(false);
        let worker =
            Worker { database, passwords, clock, health: Arc::clone(&health), migrated: sender };
        let task = AbortOnDropHandle::new(tokio::spawn(worker.run()));
        Self { health, address, migrated, _task: task }
    }

    /// Becomes true when the tables are there.
    pub(crate) fn migrated(&self) -> watch::Receiver<bool> {
        self.migrated.clone()
    }

    /// What was wrong when it was last looked at, as a public sentence.
    pub(crate) fn problem(&self) -> Option<String> {
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = health.at.elapsed() > LONGEST_WITHOUT_ANSWER;
        let late = || format!("the database at {} has not answered for too long", self.address);
        health.problem.clone().or_else(|| silent.then(late))
    }
}

impl Worker {
    async fn run(self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut migrated = false;
        let mut next_purge = Instant::now();
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
            // Each time, for an import may bring another kind.
            if well && let Err(error) = self.see_hashes().await {
                tracing::warn!(error = %chain(&error), "the passwords' hashes can't be seen");
            }
            if well && next_purge <= Instant::now() {
                match self.purge().await {
                    Ok(More::Remain) => {}
                    Ok(More::None) => next_purge = Instant::now() + PURGE,
                    Err(error) => {
                        tracing::warn!(error = %chain(&error), "expired rows can't be removed");
                        next_purge = Instant::now() + PURGE;
                    }
                }
            }
        }
    }

    /// Shows the problem, and logs the change from well to ill and back.
    fn publish(&self, outcome: Result<(), DatabaseError>) {
        let address = self.database.address().to_owned();
        let problem =
            outcome.as_ref().err().map(|_| format!("the database at {address} can't be used"));
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        if health.problem != problem {
            match &outcome {
                Ok(()) => tracing::info!(address, "health check passing"),
                Err(error) => {
                    tracing::warn!(address, error = %chain(error), "health check failing")
                }
            }
        }
        *health = Health { problem, at: Instant::now() };
    }

    /// Removes a bounded number of rows that no request looks at any more.
    async fn purge(&self) -> Result<More, sqlx::Error> {
        let pool = self.database.pool();
        let before = self.clock.now().checked_sub(MARGIN).unwrap_or(Timestamp::MIN);
        let mut more = More::None;
        for statement in [
            "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at < $1 LIMIT $2)",
            "DELETE FROM links WHERE hash IN (SELECT hash FROM links WHERE expires_at < $1 LIMIT $2)",
            "DELETE FROM attempts WHERE key IN (SELECT key FROM attempts \
               WHERE last_at < $1 - interval '1 hour' AND blocked_until < $1 LIMIT $2)",
        ] {
            let delete = sqlx::query(statement).bind(Time(before)).bind(i64::from(PURGED_ROWS));
            let removed = self.database.timed(delete.execute(pool)).await?.rows_affected();
            if removed >= u64::from(PURGED_ROWS) {
                more = More::Remain;
            }
        }
        Ok(more)
    }

    /// Sees of which kinds the passwords' hashes are: each by a step in an index, for there may be millions.
    async fn see_hashes(&self) -> Result<(), sqlx::Error> {
        // Of a PHC string the settings; nothing of a hash that is the library's.
        let kinds = "WITH RECURSIVE kinds (kind) AS ( \
               (SELECT split_part(password_hash, '$', 4) FROM credentials ORDER BY 1 LIMIT 1) \
               UNION ALL SELECT (SELECT split_part(password_hash, '$', 4) FROM credentials \
                 WHERE split_part(password_hash, '$', 4) > kind ORDER BY 1 LIMIT 1) \
               FROM kinds WHERE kind IS NOT NULL) \
             SELECT kind FROM kinds WHERE kind IS NOT NULL LIMIT 8";
        let read = sqlx::query_scalar(kinds).fetch_all(self.database.pool());
        let kinds: Vec<String> = self.database.timed(read).await?;
        self.passwords.in_use(kinds.iter().filter_map(|text| HashKind::named(text)).collect());
        Ok(())
    }
}
