//! Postgres: the pool and the migrations. Statements are where they are needed.

mod given_up;

use std::{io, time::Duration};

use hsmd_service::postgres::{Server, ServerError};
use sqlx::{
    AssertSqlSafe, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::timeout;

use crate::config::DatabaseConfig;
use given_up::GivenUp;

/// How long a connection may have been idle before it is tried with a round trip of its own.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// How long making the tables may take, with the wait for another replica that makes them.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(300);

/// Names the advisory lock under which the schema is made.
const SCHEMA_LOCK: i64 = 0x6873_6d64_6163_6374;

/// Why the database does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The tables can't be made or brought up to date.
    #[error("can't migrate the database")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// A statement failed.
    #[error("the database did not answer as it should")]
    Query(#[from] sqlx::Error),
}

/// The accounts' database. Clones share its connections; a lost one is replaced when it is next needed.
#[derive(Clone, Debug)]
pub struct Database {
    pool: PgPool,
    options: PgConnectOptions,
    schema: String,
    /// How long we wait for the server at the most: first for a connection, then for a statement's answer.
    longest: Duration,
    given_up: GivenUp,
    /// Where the server is, without user and password.
    address: String,
}

impl Database {
    /// Prepares the pool without connecting; must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn open(config: &DatabaseConfig) -> Result<Self, ServerError> {
        let Server { options, address } =
            Server::read(&config.url_file, "hsmd-accounts")?.with_timeout(config.timeout);
        // Without the warnings that there was no transaction to roll back: see below.
        let settings = [("search_path", config.schema.as_str()), ("client_min_messages", "error")];
        let options = options.options(settings);
        let release_timeout = config.timeout;
        let given_up = GivenUp::new();
        let suspect = given_up.clone();
        let pool = PgPoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(config.timeout)
            // One round trip each would double what reading a session costs.
            .test_before_acquire(false)
            .before_acquire(|connection, about| {
                Box::pin(async move {
                    if about.idle_for > TRUSTED_IDLE {
                        sqlx::Connection::ping(connection).await?;
                    }
                    Ok(true)
                })
            })
            // After work was given up. A BEGIN whose answer was not waited for stays open: sqlx forgets it (sqlx
            // issue 4393), and what is committed next would be undone. One that has fallen silent is closed: sqlx
            // tries each as well, but without a bound, and the pool would have one place less meanwhile.
            .after_release(move |connection, _| {
                let is_suspect = suspect.lately();
                Box::pin(async move {
                    if !is_suspect {
                        return Ok(true);
                    }
                    let ended = sqlx::raw_sql("ROLLBACK").execute(connection);
                    let ended = timeout(release_timeout, ended).await;
                    ended.unwrap_or_else(|_| Err(silent())).map(|_| true)
                })
            })
            .connect_lazy_with(options.clone());
        let (schema, longest) = (config.schema.clone(), config.timeout.saturating_mul(2));
        Ok(Self { pool, options, schema, longest, given_up, address })
    }

    /// Bounds work that takes a connection and one statement, or a few short ones: the server's own timeouts
    /// do not help where nothing arrives.
    pub(crate) async fn timed<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        timeout(self.longest, self.noting(work)).await.unwrap_or_else(|_| Err(silent()))
    }

    /// For all work with the pool's connections that may be dropped before its end.
    pub(crate) fn noting<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        self.given_up.noting(work)
    }

    /// Makes the schema and its tables or brings them up to date. Replicas that start together wait for
    /// each other.
    ///
    /// # Errors
    /// [`DatabaseError::Query`] if it can't be reached, [`DatabaseError::Migrate`] if it holds something
    /// else.
    pub async fn migrate(&self) -> Result<(), DatabaseError> {
        timeout(MIGRATION_TIMEOUT, self.migrate_unbounded())
            .await
            .unwrap_or_else(|_| Err(silent().into()))
    }

    async fn migrate_unbounded(&self) -> Result<(), DatabaseError> {
        let pool = self.of_its_own().await?;
        let mut transaction = pool.begin().await?;
        let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(SCHEMA_LOCK);
        lock.execute(&mut *transaction).await?;
        // The configuration admits plain names only.
        let schema = format!("CREATE SCHEMA IF NOT EXISTS \"{}\"", self.schema);
        sqlx::query(AssertSqlSafe(schema)).execute(&mut *transaction).await?;
        transaction.commit().await?;
        sqlx::migrate!().run(&pool).await.map_err(DatabaseError::Migrate)?;
        pool.close().await;
        Ok(())
    }

    /// A connection of its own for what takes longer than a request's statement, like waiting for another
    /// replica, and for a transaction that waits for something else.
    pub(crate) async fn of_its_own(&self) -> Result<PgPool, sqlx::Error> {
        let settings = [("statement_timeout", "60s"), ("idle_in_transaction_session_timeout", "0")];
        let options = self.options.clone().options(settings);
        PgPoolOptions::new().max_connections(1).connect_with(options).await
    }

    /// Whether the database answers.
    pub(crate) async fn ping(&self) -> Result<(), DatabaseError> {
        self.timed(sqlx::query("SELECT 1").execute(&self.pool)).await?;
        Ok(())
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Where the server is, without user and password.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

/// What becomes of a statement whose answer does not come.
fn silent() -> sqlx::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the database has fallen silent").into()
}

/// Whether an error is the violation of this unique constraint.
pub(crate) fn violates(error: &sqlx::Error, constraint: &str) -> bool {
    error.as_database_error().and_then(|error| error.constraint()) == Some(constraint)
}
