//! The writer lock: an advisory lock of the schema, taken and proved on the writer's connection.

use std::time::Instant;

use sqlx::Row as _;

use super::KeylogError;
use super::connect::timed;
use super::writer::{Backend, DECODING, Writer};
use crate::clock::DatabaseClock;

impl Writer {
    /// Takes the writer lock if it is free; false when another session of the writer's role has it.
    ///
    /// # Errors
    /// [`KeylogError::ReadOnlyServer`] also for a hot standby: advisory locks work there, and exclude no
    /// writer elsewhere. [`KeylogError::LockedByRole`], [`KeylogError::TransactionPooler`],
    /// [`KeylogError::Statement`], [`KeylogError::Timeout`].
    pub async fn try_lock(&mut self) -> Result<bool, KeylogError> {
        let schema = self.schema.clone();
        let locked = timed("taking the writer lock", async {
            // NULL on a server where the lock is worth nothing.
            sqlx::query_scalar::<_, Option<bool>>(
                "SELECT CASE WHEN NOT (pg_is_in_recovery() \
                   OR current_setting('transaction_read_only')::bool) \
                   THEN pg_try_advisory_lock(hashtextextended('hsmd:' || $1, 0)) END",
            )
            .bind(schema)
            .fetch_one(&mut self.connection)
            .await
            .map_err(KeylogError::statement("taking the writer lock"))
        })
        .await?
        .ok_or(KeylogError::ReadOnlyServer)?;
        if !locked {
            return match self.foreign_holder().await? {
                Some(role) => Err(KeylogError::LockedByRole(role)),
                None => Ok(false),
            };
        }
        match self.prove_lock().await {
            Ok(_) => Ok(true),
            Err(KeylogError::LockLost) => Err(KeylogError::TransactionPooler),
            Err(error) => Err(error),
        }
    }

    /// The role that holds the lock, if it is not the writer's.
    async fn foreign_holder(&mut self) -> Result<Option<String>, KeylogError> {
        timed("looking who holds the writer lock", async {
            sqlx::query_scalar(
                "WITH k AS (SELECT hashtextextended('hsmd:' || $1, 0) AS v) \
                 SELECT usename::text FROM pg_locks JOIN pg_stat_activity USING (pid), k \
                 WHERE locktype = 'advisory' AND granted AND objsubid = 1 \
                   AND classid::bigint = ((v >> 32) & 4294967295) \
                   AND objid::bigint = (v & 4294967295) AND usename <> current_user \
                   AND pg_locks.database = (SELECT oid FROM pg_database \
                     WHERE datname = current_database())",
            )
            .bind(&self.schema)
            .fetch_optional(&mut self.connection)
            .await
            .map_err(KeylogError::statement("looking who holds the writer lock"))
        })
        .await
    }

    /// Proves that this connection still holds the lock, on a server that takes writes; what the server's clock
    /// says.
    ///
    /// # Errors
    /// [`KeylogError::LockLost`], [`KeylogError::ReadOnlyServer`], [`KeylogError::TransactionPooler`],
    /// [`KeylogError::Statement`], [`KeylogError::Timeout`].
    pub async fn prove_lock(&mut self) -> Result<DatabaseClock, KeylogError> {
        let schema = self.schema.clone();
        let asked = Instant::now();
        let (held, pid, millis) = timed("proving the writer lock", async {
            // A lock on a bigint shows in pg_locks as its two halves, with objsubid 1.
            let row = sqlx::query(
                "WITH k AS (SELECT hashtextextended('hsmd:' || $1, 0) AS v) \
                 SELECT EXISTS (SELECT FROM pg_locks, k WHERE locktype = 'advisory' AND granted \
                   AND pid = pg_backend_pid() AND objsubid = 1 \
                   AND classid::bigint = ((v >> 32) & 4294967295) \
                   AND objid::bigint = (v & 4294967295)) AS held, pg_backend_pid() AS pid, \
                   pg_is_in_recovery() OR current_setting('transaction_read_only')::bool \
                     AS read_only, \
                   floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS millis",
            )
            .bind(schema)
            .fetch_one(&mut self.connection)
            .await
            .map_err(KeylogError::statement("proving the writer lock"))?;
            let held: bool = row.try_get("held").map_err(KeylogError::statement(DECODING))?;
            let pid: i32 = row.try_get("pid").map_err(KeylogError::statement(DECODING))?;
            let read_only: bool =
                row.try_get("read_only").map_err(KeylogError::statement(DECODING))?;
            let millis: i64 = row.try_get("millis").map_err(KeylogError::statement(DECODING))?;
            if read_only { Err(KeylogError::ReadOnlyServer) } else { Ok((held, pid, millis)) }
        })
        .await?;
        if pid != self.backend.pid {
            return Err(KeylogError::TransactionPooler);
        }
        if held { Ok(DatabaseClock::read(millis, asked)) } else { Err(KeylogError::LockLost) }
    }

    /// Whether a connection of ours that we lost still holds the lock, on a server that takes writes.
    ///
    /// # Errors
    /// [`KeylogError::Statement`], [`KeylogError::Timeout`].
    pub async fn is_locked_by(&mut self, lost: &Backend) -> Result<bool, KeylogError> {
        timed("proving the writer lock", async {
            sqlx::query_scalar(
                "WITH k AS (SELECT hashtextextended('hsmd:' || $1, 0) AS v) \
                 SELECT NOT (pg_is_in_recovery() OR current_setting('transaction_read_only')::bool) \
                   AND EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid), k \
                     WHERE locktype = 'advisory' AND granted AND objsubid = 1 \
                       AND classid::bigint = ((v >> 32) & 4294967295) \
                       AND objid::bigint = (v & 4294967295) \
                       AND pid = $2 AND backend_start::text = $3)",
            )
            .bind(&self.schema)
            .bind(lost.pid)
            .bind(&lost.started)
            .fetch_one(&mut self.connection)
            .await
            .map_err(KeylogError::statement("proving the writer lock"))
        })
        .await
    }

    /// Says that the database has every event that readers of this daemon have, or that it has not: by a
    /// second advisory lock. A standby shows its log only while it sees both held, since a frozen log must
    /// not hide a taint.
    pub async fn set_complete(&mut self, complete: bool) -> Result<(), KeylogError> {
        if self.complete == complete {
            return Ok(());
        }
        timed("saying whether the key log is complete", async {
            sqlx::query(
                "SELECT CASE WHEN $2 THEN pg_try_advisory_lock(k) ELSE pg_advisory_unlock(k) END \
                 FROM hashtextextended('hsmd-complete:' || $1, 0) k",
            )
            .bind(&self.schema)
            .bind(complete)
            .execute(&mut self.connection)
            .await
            .map_err(KeylogError::statement("saying whether the key log is complete"))
        })
        .await?;
        self.complete = complete;
        Ok(())
    }

    /// Whether a session of the writer's role says that the key log is complete.
    pub async fn is_complete(&mut self) -> Result<bool, KeylogError> {
        timed("looking whether the key log is complete", async {
            sqlx::query_scalar(
                "WITH k AS (SELECT hashtextextended('hsmd-complete:' || $1, 0) AS v) \
                 SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid), k \
                   WHERE locktype = 'advisory' AND granted AND objsubid = 1 \
                     AND classid::bigint = ((v >> 32) & 4294967295) \
                     AND objid::bigint = (v & 4294967295) AND usename = current_user \
                     AND pg_locks.database = (SELECT oid FROM pg_database \
                       WHERE datname = current_database()))",
            )
            .bind(&self.schema)
            .fetch_one(&mut self.connection)
            .await
            .map_err(KeylogError::statement("looking whether the key log is complete"))
        })
        .await
    }

    /// Ends the server process of a connection that we lost, and waits for its end, so that its transaction
    /// is over and its lock free: the rows say then what became of it. Nothing happens when it is gone already.
    ///
    /// # Errors
    /// [`KeylogError::AwaitingReplication`]: the process waits for synchronous replicas, and is left
    /// alone: ended, its COMMIT would succeed without them. [`KeylogError::Statement`],
    /// [`KeylogError::Timeout`].
    pub async fn terminate(&mut self, lost: &Backend) -> Result<(), KeylogError> {
        let waits = timed("ending a lost connection", async {
            sqlx::query_scalar::<_, bool>(
                "SELECT CASE WHEN wait_event = 'SyncRep' THEN true \
                   ELSE pg_terminate_backend(pid, 3000) AND false END FROM pg_stat_activity \
                 WHERE pid = $1 AND backend_start::text = $2",
            )
            .bind(lost.pid)
            .bind(&lost.started)
            .fetch_optional(&mut self.connection)
            .await
            .map_err(KeylogError::statement("ending a lost connection"))
        })
        .await?;
        if waits == Some(true) { Err(KeylogError::AwaitingReplication) } else { Ok(()) }
    }
}
