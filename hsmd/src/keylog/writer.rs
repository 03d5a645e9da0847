//! The one dedicated connection: it holds the advisory lock and makes every write, so that a write
//! can't happen without the lock.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row as _};

use super::KeylogError;
use super::connect::{connect, timed};
use super::migrate::check_schema;
use super::reader::{Row, read};
use crate::config::DatabaseConfig;

pub(super) const DECODING: &str = "decoding the server's answer";

/// The writer's connection. Dropping it frees the lock.
#[derive(Debug)]
pub struct Writer {
    pub(super) connection: PgConnection,
    pub(super) schema: String,
    pub(super) backend: Backend,
    /// Whether this session holds the lock that says so; see `set_complete`.
    pub(super) complete: bool,
}

/// A server process, named so that a later one with the same pid is not taken for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    pub(super) pid: i32,
    pub(super) started: String,
}

impl Writer {
    /// Connects, and sees that the connection is one: two statements must meet the same backend.
    ///
    /// # Errors
    /// [`KeylogError::Url`], [`KeylogError::Connect`], [`KeylogError::Timeout`], and what is wrong with
    /// the schema, for example [`KeylogError::NotMigrated`].
    pub async fn connect(config: &DatabaseConfig) -> Result<Self, KeylogError> {
        let mut connection = connect(&config.writer_url_file, config).await?;
        check_schema(&mut connection, &config.schema).await?;
        let backend = backend(&mut connection).await?;
        // A commit that is answered before it is on disk could be answered and lost.
        timed("configuring the connection", async {
            sqlx::query(
                "SELECT set_config('synchronous_commit', 'on', false) \
                 WHERE current_setting('synchronous_commit') = 'off'",
            )
            .execute(&mut connection)
            .await
            .map_err(KeylogError::statement("configuring the connection"))
        })
        .await?;
        Ok(Self { connection, schema: config.schema.clone(), backend, complete: false })
    }

    /// The server process that holds our lock.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Ends this session when it has been idle for so long. A proxy may keep the connection of a dead
    /// client; the lock must not wait for its timeout.
    ///
    /// # Errors
    /// [`KeylogError::Statement`] or [`KeylogError::Timeout`].
    pub async fn end_when_idle(&mut self, after: Duration) -> Result<(), KeylogError> {
        timed("configuring the connection", async {
            sqlx::query(
                "SELECT set_config('idle_session_timeout', $1, false), \
                   set_config('idle_in_transaction_session_timeout', $1, false)",
            )
            .bind(after.as_millis().to_string())
            .execute(&mut self.connection)
            .await
            .map_err(KeylogError::statement("configuring the connection"))
        })
        .await?;
        Ok(())
    }

    /// The events from a sequence number on, in order.
    ///
    /// # Errors
    /// [`KeylogError::Statement`], [`KeylogError::Timeout`], or [`KeylogError::NotMigrated`].
    pub async fn read(&mut self, from: u32) -> Result<Vec<Row>, KeylogError> {
        read(&mut self.connection, &self.schema, from).await
    }

    /// The SHA-256 of all rows as they stand in the table: each text and each signature, each followed
    /// by a line feed. So the server reads them all and sends next to nothing.
    ///
    /// # Errors
    /// [`KeylogError::Statement`] or [`KeylogError::Timeout`].
    pub async fn digest(&mut self) -> Result<Vec<u8>, KeylogError> {
        timed("comparing the key log", async {
            sqlx::query_scalar(
                "SELECT sha256(convert_to(coalesce(string_agg(\
                   event_text || E'\\n' || signature || E'\\n', '' ORDER BY sequence_number\
                 ), ''), 'UTF8')) FROM event",
            )
            .fetch_one(&mut self.connection)
            .await
            .map_err(KeylogError::statement("comparing the key log"))
        })
        .await
    }

    /// Closes the connection, which frees the lock.
    pub async fn close(self) {
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "closing the writer connection");
        }
    }
}

async fn backend(connection: &mut PgConnection) -> Result<Backend, KeylogError> {
    timed("identifying the connection", async {
        let row = sqlx::query(
            "SELECT pid, backend_start::text AS started FROM pg_stat_activity \
             WHERE pid = pg_backend_pid()",
        )
        .fetch_one(connection)
        .await
        .map_err(KeylogError::statement("identifying the connection"))?;
        Ok(Backend {
            pid: row.try_get("pid").map_err(KeylogError::statement(DECODING))?,
            started: row.try_get("started").map_err(KeylogError::statement(DECODING))?,
        })
    })
    .await
}
