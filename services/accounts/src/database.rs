//! Postgres: the pool and the migrations. Statements are where they are needed.

use std::time::Duration;

use hsmd_service::postgres::{Server, ServerError};
use sqlx::{
    AssertSqlSafe, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::config::DatabaseConfig;

/// How long a connection may have been idle before it is tried with a round trip of its own.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

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
        let options = options.options([("search_path", &config.schema)]);
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
            .connect_lazy_with(options.clone());
        Ok(Self { pool, options, schema: config.schema.clone(), address })
    }

    /// Makes the schema and its tables or brings them up to date. Replicas that start together wait for
    /// each other.
    ///
    /// # Errors
    /// [`DatabaseError::Query`] if it can't be reached, [`DatabaseError::Migrate`] if it holds something
    /// else.
    pub async fn migrate(&self) -> Result<(), DatabaseError> {
        // Waiting for another replica may take longer than a request's statement.
        let options = self.options.clone().options([("statement_timeout", "60s")]);
        let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await?;
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

    /// Whether the database answers.
    pub(crate) async fn ping(&self) -> Result<(), DatabaseError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
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

/// Whether an error is the violation of this unique constraint.
pub(crate) fn violates(error: &sqlx::Error, constraint: &str) -> bool {
    error.as_database_error().and_then(|error| error.constraint()) == Some(constraint)
}
