//! The one dedicated connection: it holds the advisory lock and makes every write, so that a write
//! can't happen without the lock.

use std::time::Instant;

use hsmd_chain::SignedEvent;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row as _};

use super::KeylogError;
use super::connect::{connect, options, timed};
use super::reader::{Row, read};
use super::record::AdminRecord;
use crate::clock::DatabaseClock;
use crate::config::DatabaseConfig;

const DECODING: &str = "decoding the server's answer";

/// The writer's connection. Dropping it frees the lock.
#[derive(Debug)]
pub struct Writer {
    connection: PgConnection,
    schema: String,
    backend: Backend,
}

/// A server process, named so that a later one with the same pid is not taken for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    pid: i32,
    started: String,
}

/// Why an append did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Nothing was written.
    #[error("nothing was written")]
    NotCommitted(#[source] KeylogError),
    /// COMMIT was sent and its answer lost: the next look at the log decides.
    #[error("the outcome of the commit is not known")]
    Unknown(#[source] KeylogError),
}

impl Writer {
    /// Connects, and sees that the connection is one: two statements must meet the same backend.
    ///
    /// # Errors
    /// The URL file, the server, or a transaction pooler in between.
    pub async fn connect(config: &DatabaseConfig) -> Result<Self, KeylogError> {
        let mut connection = connect(options(&config.writer_url_file, config)?).await?;
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
        Ok(Self { connection, schema: config.schema.clone(), backend })
    }

    /// The server process that holds our lock.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Takes the writer lock if nobody has it.
    ///
    /// # Errors
    /// The server, or a transaction pooler in between.
    pub async fn try_lock(&mut self) -> Result<bool, KeylogError> {
        let schema = self.schema.clone();
        let locked = timed("taking the writer lock", async {
            sqlx::query_scalar::<_, bool>(
                "SELECT pg_try_advisory_lock(hashtextextended('hsmd:' || $1, 0))",
            )
            .bind(schema)
            .fetch_one(&mut self.connection)
            .await
            .map_err(KeylogError::statement("taking the writer lock"))
        })
        .await?;
        if !locked {
            return Ok(false);
        }
        match self.prove_lock().await {
            Ok(()) => Ok(true),
            Err(KeylogError::LockLost) => Err(KeylogError::TransactionPooler),
            Err(error) => Err(error),
        }
    }

    /// Proves that this connection still holds the lock.
    ///
    /// # Errors
    /// The server, or the lock is not ours.
    pub async fn prove_lock(&mut self) -> Result<(), KeylogError> {
        let schema = self.schema.clone();
        let (held, pid) = timed("proving the writer lock", async {
            // A lock on a bigint shows in pg_locks as its two halves, with objsubid 1.
            let row = sqlx::query(
                "WITH k AS (SELECT hashtextextended('hsmd:' || $1, 0) AS v) \
                 SELECT EXISTS (SELECT FROM pg_locks, k WHERE locktype = 'advisory' AND granted \
                   AND pid = pg_backend_pid() AND objsubid = 1 \
                   AND classid::bigint = ((v >> 32) & 4294967295) \
                   AND objid::bigint = (v & 4294967295)) AS held, pg_backend_pid() AS pid",
            )
            .bind(schema)
            .fetch_one(&mut self.connection)
            .await
            .map_err(KeylogError::statement("proving the writer lock"))?;
            let held: bool = row.try_get("held").map_err(KeylogError::statement(DECODING))?;
            let pid: i32 = row.try_get("pid").map_err(KeylogError::statement(DECODING))?;
            Ok((held, pid))
        })
        .await?;
        if pid != self.backend.pid {
            return Err(KeylogError::TransactionPooler);
        }
        if held { Ok(()) } else { Err(KeylogError::LockLost) }
    }

    /// Ends the server process of a connection that we lost, so that its transaction is over and its
    /// lock free. Nothing happens when it is gone already.
    ///
    /// # Errors
    /// The server.
    pub async fn terminate(&mut self, lost: &Backend) -> Result<(), KeylogError> {
        timed("ending a lost connection", async {
            sqlx::query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE pid = $1 AND backend_start::text = $2",
            )
            .bind(lost.pid)
            .bind(&lost.started)
            .execute(&mut self.connection)
            .await
            .map_err(KeylogError::statement("ending a lost connection"))
        })
        .await?;
        Ok(())
    }

    /// The events from a sequence number on, in order.
    ///
    /// # Errors
    /// The server, or the tables are not there.
    pub async fn read(&mut self, from: u32) -> Result<Vec<Row>, KeylogError> {
        read(&mut self.connection, &self.schema, from).await
    }

    /// The SHA-256 of all rows as they stand in the table: each text and each signature, each followed
    /// by a line feed. So the server reads them all and sends next to nothing.
    ///
    /// # Errors
    /// The server.
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

    /// The server's clock.
    ///
    /// # Errors
    /// The server.
    pub async fn clock(&mut self) -> Result<DatabaseClock, KeylogError> {
        let asked = Instant::now();
        let millis = timed("reading the database's clock", async {
            sqlx::query_scalar("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint")
                .fetch_one(&mut self.connection)
                .await
                .map_err(KeylogError::statement("reading the database's clock"))
        })
        .await?;
        Ok(DatabaseClock::read(millis, asked))
    }

    /// Appends events and the record of the action that made them, in one transaction.
    ///
    /// # Errors
    /// Says whether nothing was written or whether that is not known.
    pub async fn append(
        &mut self,
        events: &[SignedEvent],
        record: &AdminRecord,
    ) -> Result<(), AppendError> {
        let Some(last) = events.last() else { return Ok(()) };
        let sequence_number = last.event().sequence_number();
        timed("appending to the key log", self.insert(events, record, sequence_number))
            .await
            .map_err(AppendError::NotCommitted)?;
        crate::crash_point!("rotation::before-commit");
        let commit = timed("committing", async {
            sqlx::query("COMMIT")
                .execute(&mut self.connection)
                .await
                .map_err(KeylogError::statement("committing"))
        })
        .await;
        match commit {
            Ok(_) => Ok(()),
            Err(error) if refused_commit(&error) => Err(AppendError::NotCommitted(error)),
            Err(error) => Err(AppendError::Unknown(error)),
        }
    }

    async fn insert(
        &mut self,
        events: &[SignedEvent],
        record: &AdminRecord,
        sequence_number: u32,
    ) -> Result<(), KeylogError> {
        let connection = &mut self.connection;
        sqlx::query("BEGIN")
            .execute(&mut *connection)
            .await
            .map_err(KeylogError::statement("beginning a transaction"))?;
        let inserted = insert_all(connection, events, record, sequence_number).await;
        if inserted.is_err() {
            // Leave the connection usable; when even that fails, the next statement says so.
            let rolled_back = sqlx::query("ROLLBACK").execute(&mut *connection).await;
            if let Err(error) = rolled_back {
                tracing::warn!(%error, "cannot roll back");
            }
        }
        inserted.map_err(KeylogError::statement("appending to the key log"))
    }

    /// Closes the connection, which frees the lock.
    pub async fn close(self) {
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "closing the writer connection");
        }
    }
}

/// Whether the server itself says that it did not commit: an integrity error or a serialisation
/// failure. Anything that may end a server process in the middle says nothing.
fn refused_commit(error: &KeylogError) -> bool {
    let KeylogError::Statement { source: sqlx::Error::Database(error), .. } = error else {
        return false;
    };
    error.code().is_some_and(|code| ["23", "40"].iter().any(|class| code.starts_with(class)))
}

async fn insert_all(
    connection: &mut PgConnection,
    events: &[SignedEvent],
    record: &AdminRecord,
    sequence_number: u32,
) -> Result<(), sqlx::Error> {
    for event in events {
        sqlx::query("INSERT INTO event (event_text, signature) VALUES ($1, $2)")
            .bind(event.text())
            .bind(event.signature().to_string())
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query(
        "INSERT INTO admin_action \
         (at, action, caller, reason, request_id, sequence_number, file_digest) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(record.at.to_string())
    .bind(record.action.as_str())
    .bind(&record.caller)
    .bind(&record.reason)
    .bind(&record.request_id)
    .bind(sequence_number.cast_signed())
    .bind(record.file_digest.map(|digest| digest.to_string()))
    .execute(connection)
    .await?;
    Ok(())
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
