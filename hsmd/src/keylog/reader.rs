//! Looking at the table without the lock: `check`, `export` and a daemon in standby.

use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};

use super::KeylogError;
use super::connect::{connect, options, timed};
use crate::config::DatabaseConfig;

/// An event as it stands in the table: unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The event's text.
    pub text: String,
    /// Its signature's text.
    pub signature: String,
}

/// A record of an admin action, as it stands in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionRow {
    /// Its number.
    pub number: u64,
    /// When.
    pub at: String,
    /// What.
    pub action: String,
    /// By whom.
    pub caller: String,
    /// Why.
    pub reason: String,
    /// The request's id.
    pub request_id: String,
    /// The newest event that it left.
    pub sequence_number: u32,
    /// Of an import: the digest of the file.
    pub file_digest: Option<String>,
}

/// A connection that only reads.
#[derive(Debug)]
pub struct Reader {
    connection: PgConnection,
    schema: String,
}

impl Reader {
    /// Connects as the writer role, without taking the lock.
    ///
    /// # Errors
    /// The URL file or the server.
    pub async fn connect(config: &DatabaseConfig) -> Result<Self, KeylogError> {
        let connection = connect(options(&config.writer_url_file, config)?).await?;
        Ok(Self { connection, schema: config.schema.clone() })
    }

    /// The events from a sequence number on, in order.
    ///
    /// # Errors
    /// The server, or the tables are not there.
    pub async fn read(&mut self, from: u32) -> Result<Vec<Row>, KeylogError> {
        read(&mut self.connection, &self.schema, from).await
    }

    /// Records of admin actions, oldest first: `count` of them from a number on, or the newest.
    ///
    /// # Errors
    /// The server, or the tables are not there.
    pub async fn read_actions(
        &mut self,
        from: Option<u64>,
        count: u32,
    ) -> Result<Vec<ActionRow>, KeylogError> {
        let from = from.map(|from| i64::try_from(from).unwrap_or(i64::MAX));
        timed("reading admin records", async {
            sqlx::query(
                "SELECT * FROM (SELECT number, at, action, caller, reason, request_id, \
                   sequence_number, file_digest FROM admin_action \
                   WHERE $1::bigint IS NULL OR number >= $1 \
                   ORDER BY CASE WHEN $1::bigint IS NULL THEN -number ELSE number END \
                   LIMIT $2) page ORDER BY number",
            )
            .bind(from)
            .bind(i64::from(count))
            .fetch_all(&mut self.connection)
            .await
            .and_then(|rows| rows.iter().map(action_row).collect())
            .map_err(KeylogError::statement("reading admin records"))
        })
        .await
    }

    /// What the role may do to the table beyond SELECT and INSERT; should be nothing.
    ///
    /// # Errors
    /// The server.
    pub async fn excess_privileges(&mut self) -> Result<Vec<String>, KeylogError> {
        timed("reading privileges", async {
            sqlx::query_scalar(
                "SELECT t || ': ' || p FROM unnest(ARRAY['event', 'admin_action']) t, \
                 unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) p \
                 WHERE has_table_privilege(t, p)",
            )
            .fetch_all(&mut self.connection)
            .await
            .map_err(KeylogError::statement("reading privileges"))
        })
        .await
    }
}

pub(super) async fn read(
    connection: &mut PgConnection,
    schema: &str,
    from: u32,
) -> Result<Vec<Row>, KeylogError> {
    let from = i32::try_from(from).unwrap_or(i32::MAX);
    timed("reading the key log", async {
        let rows = sqlx::query(
            "SELECT event_text, signature FROM event \
             WHERE sequence_number >= $1 ORDER BY sequence_number",
        )
        .bind(from)
        .fetch_all(connection)
        .await;
        match rows {
            Ok(rows) => rows.iter().map(row).collect(),
            Err(sqlx::Error::Database(error))
                if matches!(error.code().as_deref(), Some("42P01" | "3F000" | "42501")) =>
            {
                Err(KeylogError::NotMigrated(schema.to_owned()))
            }
            Err(source) => Err(KeylogError::Statement { doing: "reading the key log", source }),
        }
    })
    .await
}

fn action_row(row: &PgRow) -> Result<ActionRow, sqlx::Error> {
    Ok(ActionRow {
        number: row.try_get::<i64, _>("number")?.cast_unsigned(),
        at: row.try_get("at")?,
        action: row.try_get("action")?,
        caller: row.try_get("caller")?,
        reason: row.try_get("reason")?,
        request_id: row.try_get("request_id")?,
        sequence_number: row.try_get::<i32, _>("sequence_number")?.cast_unsigned(),
        file_digest: row.try_get("file_digest")?,
    })
}

fn row(row: &PgRow) -> Result<Row, KeylogError> {
    let column = |name| {
        row.try_get::<String, _>(name).map_err(KeylogError::statement("decoding the key log"))
    };
    Ok(Row { text: column("event_text")?, signature: column("signature")? })
}
