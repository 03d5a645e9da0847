//! Looking at the table without the lock: `check`, `export` and a daemon in standby.

use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};

use super::KeylogError;
use super::connect::{connect, timed};
use super::migrate::{check_schema, unreadable};
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
    pub reason: String,
    /// The request's id.
    pub request_id: String,
    /// The newest event that it left.
    pub sequence_number: u32,
    /// Of an import: the digest of the file.
    pub file_digest: Option<String>,
}

const LOOKING_FOR_A_POOLER: &str = "looking for a transaction pooler";

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
    /// [`KeylogError::Url`] or [`KeylogError::Connect`].
    pub async fn connect(config: &DatabaseConfig) -> Result<Self, KeylogError> {
        let mut connection = connect(&config.writer_url_file, config).await?;
        check_schema(&mut connection, &config.schema).await?;
        Ok(Self { connection, schema: config.schema.clone() })
    }

    /// Whether the statements of one connection arrive at different server processes. Two connections
    /// at once show it: while the second keeps a transaction open on the server process that the first
    /// has just used, the first meets another one.
    ///
    /// # Errors
    /// [`KeylogError::Url`] or [`KeylogError::Connect`].
    pub async fn is_pooled(&mut self, config: &DatabaseConfig) -> Result<bool, KeylogError> {
        let mut other = connect(&config.writer_url_file, config).await?;
        let first = process(&mut self.connection, "SELECT pg_backend_pid()").await?;
        timed(LOOKING_FOR_A_POOLER, async {
            sqlx::query("BEGIN")
                .execute(&mut other)
                .await
                .map_err(KeylogError::statement(LOOKING_FOR_A_POOLER))
        })
        .await?;
        process(&mut other, "SELECT pg_backend_pid()").await?;
        Ok(process(&mut self.connection, "SELECT pg_backend_pid()").await? != first)
    }

    /// The roles that may connect to the database beside the writer's, the owners and superusers: each
    /// could take the writer lock.
    ///
    /// # Errors
    /// [`KeylogError::Statement`] or [`KeylogError::Timeout`].
    pub async fn others_who_may_connect(&mut self) -> Result<Vec<String>, KeylogError> {
        timed("reading who may connect", async {
            sqlx::query_scalar(
                "SELECT CASE WHEN r.oid = 0 THEN 'PUBLIC' ELSE rolname END FROM \
                   (SELECT 0::oid AS oid, 'public' AS rolname, false AS rolsuper \
                    UNION ALL SELECT oid, rolname, rolsuper FROM pg_roles WHERE rolcanlogin) r, \
                   pg_database d \
                 WHERE d.datname = current_database() AND NOT rolsuper \
                   AND rolname <> current_user AND r.oid <> d.datdba \
                   AND NOT EXISTS (SELECT FROM pg_namespace n \
                     WHERE n.nspname = $1 AND n.nspowner = r.oid) \
                   AND (CASE WHEN r.oid = 0 \
                     THEN EXISTS (SELECT FROM aclexplode(coalesce(d.datacl, \
                       acldefault('d', d.datdba))) a WHERE a.grantee = 0 \
                       AND a.privilege_type = 'CONNECT') \
                     ELSE has_database_privilege(r.oid, d.oid, 'CONNECT') END) \
                 ORDER BY r.oid LIMIT 5",
            )
            .bind(&self.schema)
            .fetch_all(&mut self.connection)
            .await
            .map_err(KeylogError::statement("reading who may connect"))
        })
        .await
    }

    /// The events from a sequence number on, in order.
    ///
    /// # Errors
    /// [`KeylogError::Statement`], [`KeylogError::Timeout`], or [`KeylogError::NotMigrated`].
    pub async fn read(&mut self, from: u32) -> Result<Vec<Row>, KeylogError> {
        read(&mut self.connection, &self.schema, from).await
    }

    /// Records of admin actions, oldest first: `count` of them from a number on, or the newest.
    ///
    /// # Errors
    /// [`KeylogError::Statement`], [`KeylogError::Timeout`], or [`KeylogError::NotMigrated`].
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
    /// [`KeylogError::Statement`] or [`KeylogError::Timeout`].
    pub async fn excess_privileges(&mut self) -> Result<Vec<String>, KeylogError> {
        timed("reading privileges", async {
            sqlx::query_scalar(
                "SELECT t || ': ' || p FROM unnest(ARRAY['event', 'admin_action', 'token_claim']) t, \
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
        .fetch_all(&mut *connection)
        .await;
        match rows {
            Ok(rows) => rows.iter().map(row).collect(),
            Err(source) => Err(unreadable(connection, schema, source).await),
        }
    })
    .await
}

async fn process(connection: &mut PgConnection, query: &'static str) -> Result<i32, KeylogError> {
    timed(LOOKING_FOR_A_POOLER, async {
        sqlx::query_scalar(query)
            .fetch_one(connection)
            .await
            .map_err(KeylogError::statement(LOOKING_FOR_A_POOLER))
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
