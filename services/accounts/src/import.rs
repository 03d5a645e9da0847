//! Users and their password hashes from the tables of the library's server, version 1.7.
//!
//! Sessions stay behind: their cookies are signed by a secret that has no place here.

use std::path::Path;

use hsmd_runtime::{ConfigError, StartError};
use hsmd_service::postgres::{Server, ServerError};
use hsmd_support::postgres::UrlFileError;
use sqlx::{Connection as _, FromRow, PgConnection, PgPool, postgres::PgPoolOptions};

use crate::{
    api::{LONGEST_IMAGE, LONGEST_NAME},
    random,
    time::Time,
    users::is_email,
};

/// How many users are read at once.
const PAGE: i64 = 500;

/// A user as the library has them.
#[derive(FromRow)]
struct Row {
    id: String,
    name: String,
    email: String,
    email_verified: bool,
    image: Option<String>,
    created_at: Time,
    updated_at: Time,
    password: Option<String>,
}

/// What was found, and done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    users: u64,
    passwords: u64,
    /// Users whose id or address is here already.
    known: u64,
    /// Users who can't be taken, with the reason.
    refused: Vec<String>,
    /// Users who are not taken as they were.
    changed: Vec<String>,
}

impl Report {
    pub(crate) fn text(&self, write: bool) -> String {
        let mut text = String::new();
        for reason in &self.refused {
            text.push_str(&format!("refused: {reason}\n"));
        }
        for change in &self.changed {
            text.push_str(&format!("changed: {change}\n"));
        }
        let done = if write { "imported" } else { "would import" };
        text.push_str(&format!(
            "{done} {} users, {} of them with a password; {} are here already, {} refused\n",
            self.users,
            self.passwords,
            self.known,
            self.refused.len()
        ));
        if !write {
            text.push_str("nothing was written: say --write to import\n");
        }
        text
    }
}

/// Reads the library's tables and, if told so, writes what is not here yet; all of it or nothing.
pub(crate) async fn import(from: &Path, write: bool, to: &PgPool) -> Result<Report, StartError> {
    let source = Server::read(from, "hsmd-accounts").map_err(|error| match error {
        ServerError::UrlFile(UrlFileError::File(error)) => ConfigError::from(error).into(),
        other => StartError::failed(other),
    })?;
    let pool = PgPoolOptions::new().max_connections(1).connect_with(source.options);
    let pool = pool.await.map_err(StartError::failed)?;
    let mut source = pool.acquire().await.map_err(StartError::failed)?;
    let report = copy(&mut source, write, to).await;
    report.map_err(StartError::failed)
}

async fn copy(source: &mut PgConnection, write: bool, to: &PgPool) -> Result<Report, sqlx::Error> {
    let mut report = Report::default();
    let mut transaction = to.begin().await?;
    let mut last = String::new();
    loop {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT u.id::text AS id, u.name, u.email, u.\"emailVerified\" AS email_verified, u.image, \
               u.\"createdAt\"::timestamptz AS created_at, u.\"updatedAt\"::timestamptz AS updated_at, \
               (SELECT a.password FROM \"account\" a WHERE a.\"userId\" = u.id \
                  AND a.\"providerId\" = 'credential' AND a.password IS NOT NULL LIMIT 1) AS password \
             FROM \"user\" u WHERE u.id::text > $1 ORDER BY u.id::text LIMIT $2",
        )
        .bind(&last)
        .bind(PAGE)
        .fetch_all(&mut *source)
        .await?;
        let Some(end) = rows.last() else { break };
        last.clone_from(&end.id);
        for mut row in rows {
            match refusal(&row) {
                Some(reason) => report.refused.push(format!("{}: {reason}", row.id)),
                None => {
                    let changed = bound(&mut row);
                    if take(&row, &mut report, &mut transaction).await? {
                        report.changed.extend(changed);
                    }
                }
            }
        }
    }
    match write {
        true => transaction.commit().await?,
        false => transaction.rollback().await?,
    }
    Ok(report)
}

/// Why a user can't be taken.
fn refusal(row: &Row) -> Option<&'static str> {
    if row.id.len() > 64 {
        return Some("the id has more than 64 characters");
    }
    if !is_email(&row.email) {
        return Some("the address is not of the form that is accepted");
    }
    let scrypt = |hash: &str| {
        let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        hash.split_once(':').is_some_and(|(salt, key)| {
            salt.len() == 32 && key.len() == 128 && hex(salt) && hex(key)
        })
    };
    match &row.password {
        Some(hash) if !scrypt(hash) => Some("the password's hash is not of the library's own form"),
        _ => None,
    }
}

/// Keeps to the bounds of the API, since name and image are in every token; says what was changed.
fn bound(row: &mut Row) -> Vec<String> {
    let mut changed = Vec::new();
    if let Some((end, _)) = row.name.char_indices().nth(LONGEST_NAME) {
        row.name.truncate(end);
        changed.push(format!("{}: the name was cut to {LONGEST_NAME} characters", row.id));
    }
    if row.image.as_ref().is_some_and(|image| image.chars().nth(LONGEST_IMAGE).is_some()) {
        row.image = None;
        changed.push(format!(
            "{}: the image was left out, it has more than {LONGEST_IMAGE} characters",
            row.id
        ));
    }
    changed
}

/// False: the user is here already.
async fn take(row: &Row, report: &mut Report, to: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let mut savepoint = to.begin().await?;
    let inserted = sqlx::query(
        "INSERT INTO users (id, name, email, email_verified, image, created_at, updated_at) \
         VALUES ($1, $2, lower($3), $4, $5, $6, $7) ON CONFLICT DO NOTHING",
    )
    .bind(&row.id)
    .bind(&row.name)
    .bind(&row.email)
    .bind(row.email_verified)
    .bind(&row.image)
    .bind(row.created_at)
    .bind(row.updated_at)
    .execute(&mut *savepoint)
    .await?;
    if inserted.rows_affected() == 0 {
        report.known += 1;
        savepoint.rollback().await?;
        return Ok(false);
    }
    report.users += 1;
    if let Some(password) = &row.password {
        sqlx::query(
            "INSERT INTO credentials (id, user_id, password_hash, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(random::alphanumeric(32))
        .bind(&row.id)
        .bind(password)
        .bind(row.created_at)
        .bind(row.updated_at)
        .execute(&mut *savepoint)
        .await?;
        report.passwords += 1;
    }
    savepoint.commit().await?;
    Ok(true)
}
