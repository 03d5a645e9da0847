//! What is counted by the submitted address, in the database and so for all replicas. An address that
//! has no account is counted like any other: a limit tells nothing.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use sqlx::PgPool;

use crate::{config::LimitsConfig, error::ApiError};

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Passwords that are tried.
    Password,
    /// Mails.
    Mail,
}

/// Counts passwords tried for an address, and mails to it.
pub(crate) struct Attempts {
    database: PgPool,
    /// Passwords before the first wait.
    free: i32,
    longest_wait: f64,
    mails: i32,
}

impl Attempts {
    pub(crate) fn new(database: PgPool, config: &LimitsConfig) -> Self {
        Self {
            database,
            free: i32::try_from(config.attempts).unwrap_or(i32::MAX),
            longest_wait: config.longest_wait.as_secs_f64(),
            mails: i32::try_from(config.mails_per_hour).unwrap_or(i32::MAX),
        }
    }

    /// Counts one more, before anything is done for it: requests that come together can't all be the
    /// first. A refused one counts for nothing. What is not blocked is so since the epoch: now() is when
    /// a transaction began, and one that began earlier and waited for the row must not find it blocked.
    pub(crate) async fn begin(&self, kind: Kind, email: &str) -> Result<(), ApiError> {
        let key = key(kind, email);
        let accepted = match kind {
            Kind::Password => sqlx::query(
                "INSERT INTO attempts AS a (key, count, last_at, blocked_until) \
                 VALUES ($1, 1, now(), 'epoch') ON CONFLICT (key) DO UPDATE SET \
                   count = CASE WHEN a.last_at > now() - interval '15 min' THEN a.count ELSE 0 END + 1, \
                   last_at = now(), \
                   blocked_until = CASE \
                     WHEN a.last_at > now() - interval '15 min' AND a.count + 1 >= $2 \
                     THEN now() + make_interval(secs => least($3, power(2, least(a.count + 1 - $2, 20)))) \
                     ELSE 'epoch' END \
                 WHERE a.blocked_until <= now()",
            )
            .bind(&key[..])
            .bind(self.free)
            .bind(self.longest_wait),
            Kind::Mail => sqlx::query(
                "INSERT INTO attempts AS a (key, count, last_at, blocked_until) \
                 VALUES ($1, 1, now(), 'epoch') ON CONFLICT (key) DO UPDATE SET \
                   count = CASE WHEN a.last_at > now() - interval '1 hour' THEN a.count ELSE 0 END + 1, \
                   last_at = now(), \
                   blocked_until = CASE \
                     WHEN a.last_at > now() - interval '1 hour' AND a.count + 1 >= $2 \
                     THEN now() + interval '1 hour' ELSE 'epoch' END \
                 WHERE a.blocked_until <= now()",
            )
            .bind(&key[..])
            .bind(self.mails),
        };
        if accepted.execute(&self.database).await?.rows_affected() == 1 {
            return Ok(());
        }
        let wait: Option<f64> = sqlx::query_scalar(
            "SELECT extract(epoch FROM blocked_until - now())::float8 FROM attempts WHERE key = $1",
        )
        .bind(&key[..])
        .fetch_optional(&self.database)
        .await?;
        let retry_after = Duration::try_from_secs_f64(wait.unwrap_or(1.0)).unwrap_or_default();
        Err(ApiError::TooMany { retry_after })
    }

    /// Forgets an address whose password was right.
    pub(crate) async fn forget(&self, email: &str) -> Result<(), ApiError> {
        let query = sqlx::query("DELETE FROM attempts WHERE key = $1");
        query.bind(&key(Kind::Password, email)[..]).execute(&self.database).await?;
        Ok(())
    }
}

fn key(kind: Kind, email: &str) -> [u8; 32] {
    let kind = match kind {
        Kind::Password => "password:",
        Kind::Mail => "mail:",
    };
    Sha256::new().chain_update(kind).chain_update(email).finalize().into()
}
