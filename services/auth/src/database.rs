//! Postgres: the pool, the migrations, and what is asked outside of an operation's transaction.

mod transaction;

use std::time::Duration;

use hsmd_chain::{cesr::Digest, time::Timestamp};
use hsmd_service::postgres::{Server, ServerError};
use sqlx::{PgPool, postgres::PgPoolOptions};

pub(crate) use transaction::Transaction;

use crate::config::DatabaseConfig;

/// Why the database does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The tables can't be made or brought up to date.
    #[error("can't migrate the database")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// There are no tables, and the role may not make them.
    #[error(
        "the database is empty and its role may not make tables: let it own the database, or GRANT CREATE on the schema"
    )]
    MayNotCreate,
    /// A statement failed.
    #[error("the database did not answer as it should")]
    Query(#[source] sqlx::Error),
    /// A stored text is not what the column is for.
    #[error("the database holds a malformed value")]
    Value(#[source] hsmd_chain::cesr::CesrError),
    /// A stored time is not one.
    #[error("the database holds a malformed time")]
    Time(#[source] hsmd_chain::time::TimestampError),
}

/// The accounts' database. Clones share its connections; a lost one is replaced when it is next needed.
#[derive(Clone, Debug)]
pub struct Database {
    pool: PgPool,
}

impl Database {
    /// Prepares the pool without connecting; must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn open(config: &DatabaseConfig) -> Result<Self, ServerError> {
        let server = Server::read(&config.url_file, "hsmd-auth")?.with_timeout(config.timeout);
        let pool = PgPoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(config.timeout)
            .connect_lazy_with(server.options);
        Ok(Self { pool })
    }

    /// Makes the tables or brings them up to date. Replicas that start together wait for each other.
    ///
    /// # Errors
    /// [`DatabaseError::Migrate`]: it can't be reached, or holds something else.
    pub async fn migrate(&self) -> Result<(), DatabaseError> {
        sqlx::migrate!().run(&self.pool).await.map_err(DatabaseError::Migrate)
    }

    /// Begins an operation's transaction; dropping it undoes what it did.
    pub(crate) async fn begin(&self) -> Result<Transaction, DatabaseError> {
        self.pool.begin().await.map(Transaction::new).map_err(DatabaseError::Query)
    }

    /// Whether the database answers, and its tables are there.
    pub(crate) async fn ping(&self) -> Result<(), DatabaseError> {
        let tables = "SELECT FROM accounts, devices, challenges, refreshes LIMIT 0";
        sqlx::query(tables).execute(&self.pool).await.map_err(DatabaseError::Query)?;
        Ok(())
    }

    /// Whether its tables are there; false where there are none at all and the role may make them.
    ///
    /// # Errors
    /// [`DatabaseError::Query`] if it can't be reached or lacks some of the tables,
    /// [`DatabaseError::MayNotCreate`].
    pub(crate) async fn look(&self) -> Result<bool, DatabaseError> {
        let state = "SELECT to_regclass('_sqlx_migrations') IS NULL, \
                     has_schema_privilege(current_schema(), 'CREATE')";
        let row: (bool, Option<bool>) =
            sqlx::query_as(state).fetch_one(&self.pool).await.map_err(DatabaseError::Query)?;
        match row {
            (true, Some(true)) => Ok(false),
            (true, _) => Err(DatabaseError::MayNotCreate),
            (false, _) => self.ping().await.map(|()| true),
        }
    }

    /// The devices revoked since an instant, and when.
    pub(crate) async fn revoked_since(
        &self,
        since: Timestamp,
    ) -> Result<Vec<(Digest, Timestamp)>, DatabaseError> {
        self.dated(
            sqlx::query_as(
                "SELECT device::text, revoked_at::bigint FROM devices WHERE revoked_at >= $1",
            ),
            since,
        )
        .await
    }

    /// The refresh hashes that matter after an instant, and until when.
    pub(crate) async fn used_after(
        &self,
        after: Timestamp,
    ) -> Result<Vec<(Digest, Timestamp)>, DatabaseError> {
        self.dated(
            sqlx::query_as(
                "SELECT hash::text, used_until::bigint FROM refreshes WHERE used_until > $1",
            ),
            after,
        )
        .await
    }

    /// Removes challenges and refresh hashes that no check looks at any more.
    pub(crate) async fn purge(
        &self,
        now: Timestamp,
        challenge: Duration,
    ) -> Result<(), DatabaseError> {
        // Replicas' clocks may differ: what one still accepts another must not purge.
        const MARGIN: Duration = Duration::from_secs(10 * 60);
        let before = |age| now.checked_sub(age).unwrap_or(Timestamp::MIN).unix_millis();
        for (statement, limit) in [
            ("DELETE FROM challenges WHERE given_at < $1", before(challenge + MARGIN)),
            ("DELETE FROM refreshes WHERE used_until < $1", before(MARGIN)),
        ] {
            let query = sqlx::query(statement).bind(limit);
            query.execute(&self.pool).await.map_err(DatabaseError::Query)?;
        }
        Ok(())
    }

    async fn dated(
        &self,
        query: sqlx::query::QueryAs<
            'static,
            sqlx::Postgres,
            (String, i64),
            sqlx::postgres::PgArguments,
        >,
        bound: Timestamp,
    ) -> Result<Vec<(Digest, Timestamp)>, DatabaseError> {
        let rows = query.bind(bound.unix_millis()).fetch_all(&self.pool).await;
        rows.map_err(DatabaseError::Query)?
            .into_iter()
            .map(|(text, millis)| Ok((parse(&text)?, time(millis)?)))
            .collect()
    }
}

/// A stored text as what it stands for.
fn parse<T>(text: &str) -> Result<T, DatabaseError>
where
    T: std::str::FromStr<Err = hsmd_chain::cesr::CesrError>,
{
    text.parse().map_err(DatabaseError::Value)
}

fn time(millis: i64) -> Result<Timestamp, DatabaseError> {
    Timestamp::from_unix_millis(millis).map_err(DatabaseError::Time)
}
