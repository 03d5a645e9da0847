//! Appending: one transaction for the events and the record of the action that made them.

use hsmd_chain::SignedEvent;
use sqlx::postgres::PgConnection;

use super::KeylogError;
use super::connect::timed;
use super::record::AdminRecord;
use super::writer::Writer;

const APPENDING: &str = "appending to the key log";

/// So that a statement stays well within its time limit.
const EVENTS_A_STATEMENT: usize = 500;

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
    /// Appends events and the record of the action that made them, in one transaction.
    ///
    /// # Errors
    /// [`AppendError::NotCommitted`], [`AppendError::Unknown`].
    pub async fn append(
        &mut self,
        events: &[SignedEvent],
        record: &AdminRecord,
    ) -> Result<(), AppendError> {
        self.append_with(events, record, |_| ()).await
    }

    /// The same, and says after each part of many events how many are in.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub async fn append_with(
        &mut self,
        events: &[SignedEvent],
        record: &AdminRecord,
        progress: impl FnMut(usize),
    ) -> Result<(), AppendError> {
        if events.is_empty() {
            return Ok(());
        }
        self.insert(events, record, progress).await.map_err(AppendError::NotCommitted)?;
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
        progress: impl FnMut(usize),
    ) -> Result<(), KeylogError> {
        let connection = &mut self.connection;
        timed(APPENDING, async {
            sqlx::query("BEGIN")
                .execute(&mut *connection)
                .await
                .map_err(KeylogError::statement("beginning a transaction"))
        })
        .await?;
        let inserted = insert_all(connection, events, record, progress).await;
        if inserted.is_err() {
            // Leave the connection usable; when even that fails, the next statement says so.
            let rolled_back = timed(APPENDING, async {
                sqlx::query("ROLLBACK")
                    .execute(&mut *connection)
                    .await
                    .map_err(KeylogError::statement("rolling back"))
            })
            .await;
            if let Err(error) = rolled_back {
                tracing::warn!(%error, "cannot roll back");
            }
        }
        inserted
    }

    /// A small write of its own that waits for the replicas as a COMMIT does. When it is answered, what
    /// was committed before has reached them, too: a row that is there proves nothing, because a COMMIT
    /// whose wait was cancelled succeeds.
    ///
    /// # Errors
    /// [`KeylogError::Timeout`] while the replicas are away, [`KeylogError::Statement`].
    pub async fn confirm(&mut self) -> Result<(), KeylogError> {
        timed("waiting for the replicas", async {
            sqlx::query("SELECT pg_logical_emit_message(true, 'hsmd', '')")
                .execute(&mut self.connection)
                .await
                .map_err(KeylogError::statement("waiting for the replicas"))
        })
        .await?;
        Ok(())
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

/// Each part has a time limit of its own: ten thousand events may take longer than one statement may.
async fn insert_all(
    connection: &mut PgConnection,
    events: &[SignedEvent],
    record: &AdminRecord,
    mut progress: impl FnMut(usize),
) -> Result<(), KeylogError> {
    let mut done = 0;
    for part in events.chunks(EVENTS_A_STATEMENT) {
        let texts: Vec<&str> = part.iter().map(SignedEvent::text).collect();
        let signatures: Vec<String> =
            part.iter().map(|event| event.signature().to_string()).collect();
        timed(APPENDING, async {
            sqlx::query(
                "INSERT INTO event (event_text, signature) \
                 SELECT * FROM unnest($1::text[], $2::text[])",
            )
            .bind(texts)
            .bind(signatures)
            .execute(&mut *connection)
            .await
            .map_err(KeylogError::statement(APPENDING))
        })
        .await?;
        done += part.len();
        progress(done);
    }
    let Some(last) = events.last() else { return Ok(()) };
    timed(APPENDING, async {
        sqlx::query(
            "INSERT INTO admin_action \
             (at, action, caller, reason, request_id, sequence_number, file_digest) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(record.at.to_string())
        .bind(record.action.as_str())
        .bind(&record.caller)
        .bind(record.readable_reason())
        .bind(&record.request_id)
        .bind(last.event().sequence_number().cast_signed())
        .bind(record.file_digest.map(|digest| digest.to_string()))
        .execute(connection)
        .await
        .map_err(KeylogError::statement(APPENDING))
    })
    .await?;
    Ok(())
}
