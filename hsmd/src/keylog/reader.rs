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

fn row(row: &PgRow) -> Result<Row, KeylogError> {
    let column = |name| {
        row.try_get::<String, _>(name).map_err(KeylogError::statement("decoding the key log"))
    };
    Ok(Row { text: column("event_text")?, signature: column("signature")? })
}
