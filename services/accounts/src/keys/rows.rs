//! The table of all replicas' keys.

use std::time::Duration;

use hsmd_chain::PublicKey;
use sqlx::{FromRow, PgPool};

/// How old a heartbeat may be whose replica lives: two are five seconds apart.
const LIVES: f64 = 11.0;

/// More keys than any fleet has.
const MOST: i64 = 1000;

/// One key's row.
#[derive(Clone, Debug, FromRow)]
pub(super) struct Row {
    pub(super) kid: String,
    pub(super) endorsement: String,
    pub(super) withdrawn: bool,
    /// Whether its replica has lately said that it lives.
    pub(super) lives: bool,
}

/// Says that the replica lives, and with which endorsement; the first makes the row. False: the key was
/// withdrawn.
pub(super) async fn publish(
    kid: &PublicKey,
    endorsement: Option<&str>,
    token: Duration,
    database: &PgPool,
) -> Result<bool, sqlx::Error> {
    let written = match endorsement {
        Some(endorsement) => sqlx::query(
            "INSERT INTO keys AS k (kid, endorsement, first_listed_at, heartbeat_at, listed_until) \
             VALUES ($1, $3, now(), now(), now() + make_interval(secs => $2)) \
             ON CONFLICT (kid) DO UPDATE SET endorsement = excluded.endorsement, \
               heartbeat_at = excluded.heartbeat_at, listed_until = excluded.listed_until \
             WHERE k.withdrawn_at IS NULL",
        )
        .bind(kid.as_str())
        .bind(token.as_secs_f64())
        .bind(endorsement),
        None => sqlx::query(
            "UPDATE keys SET heartbeat_at = now(), \
               listed_until = now() + make_interval(secs => $2) \
             WHERE kid = $1 AND withdrawn_at IS NULL",
        )
        .bind(kid.as_str())
        .bind(token.as_secs_f64()),
    };
    Ok(written.execute(database).await?.rows_affected() == 1)
}

/// Says that the replica stops: it is not waited for any more. Its key stays listed.
pub(super) async fn stop(kid: &PublicKey, database: &PgPool) -> Result<(), sqlx::Error> {
    let query =
        sqlx::query("UPDATE keys SET stopped_at = now() WHERE kid = $1 AND withdrawn_at IS NULL");
    query.bind(kid.as_str()).execute(database).await.map(drop)
}

/// The keys that are listed, oldest first, and our own in any case.
pub(super) async fn read(own: &PublicKey, database: &PgPool) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(
        "SELECT kid, endorsement, withdrawn_at IS NOT NULL AS withdrawn, \
           stopped_at IS NULL AND heartbeat_at > now() - make_interval(secs => $2) AS lives \
         FROM keys WHERE kid = $1 OR (withdrawn_at IS NULL AND listed_until > now()) \
         ORDER BY first_listed_at, kid LIMIT $3",
    )
    .bind(own.as_str())
    .bind(LIVES)
    .bind(MOST)
    .fetch_all(database)
    .await
}

/// Removes keys whose tokens have long expired.
pub(super) async fn purge(database: &PgPool) -> Result<(), sqlx::Error> {
    let query = sqlx::query(
        "DELETE FROM keys WHERE withdrawn_at IS NULL AND listed_until < now() - interval '1 day'",
    );
    query.execute(database).await.map(drop)
}

/// Withdraws one key for ever. False: there is none, or it was withdrawn before.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn withdraw(kid: &PublicKey, database: &PgPool) -> Result<bool, sqlx::Error> {
    let query =
        sqlx::query("UPDATE keys SET withdrawn_at = now() WHERE kid = $1 AND withdrawn_at IS NULL");
    Ok(query.bind(kid.as_str()).execute(database).await?.rows_affected() == 1)
}

/// Withdraws all keys for ever, and returns them.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn withdraw_all(database: &PgPool) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "UPDATE keys SET withdrawn_at = now() WHERE withdrawn_at IS NULL RETURNING kid",
    )
    .fetch_all(database)
    .await
}
