//! The links that mails carry. Their tokens are random and stored hashed.

use std::time::Duration;

use hsmd_chain::Timestamp;
use sqlx::{FromRow, PgExecutor, PgPool};

use crate::{random, time::Time};

/// How long links are good for.
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What a link may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Set a new password, once.
    Reset,
    /// Delete the account, once.
    Delete,
    /// Verify the user's address.
    Verify,
    /// Replace the user's address, which the link was sent to.
    Change,
    /// Have the new address asked; sent to the present one.
    ConfirmChange,
}

/// A link that is there.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Link {
    kind: String,
    pub(crate) user_id: String,
    /// The address that is verified or that comes.
    pub(crate) email: Option<String>,
    pub(crate) expires_at: Time,
}

impl Kind {
    const ALL: [Self; 5] =
        [Self::Reset, Self::Delete, Self::Verify, Self::Change, Self::ConfirmChange];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Delete => "delete",
            Self::Verify => "verify",
            Self::Change => "change",
            Self::ConfirmChange => "confirm-change",
        }
    }

    fn token(self) -> String {
        match self {
            Self::Reset => random::alphanumeric(24),
            Self::Delete => random::lower(32),
            Self::Verify | Self::Change | Self::ConfirmChange => random::alphanumeric(32),
        }
    }

    fn lifetime(self) -> Duration {
        if self == Self::Delete { DAY } else { HOUR }
    }
}

impl Link {
    pub(crate) fn kind(&self) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == self.kind)
    }
}

/// Makes a link and returns its token.
pub(crate) async fn make(
    kind: Kind,
    user_id: &str,
    email: Option<&str>,
    now: Timestamp,
    database: &PgPool,
) -> Result<String, sqlx::Error> {
    let token = kind.token();
    sqlx::query(
        "INSERT INTO links (hash, kind, user_id, email, expires_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(&random::hash(token.as_bytes())[..])
    .bind(kind.name())
    .bind(user_id)
    .bind(email)
    .bind(Time(now.saturating_add(kind.lifetime())))
    .execute(database)
    .await?;
    Ok(token)
}

/// Looks at a link without using it up.
pub(crate) async fn find(token: &str, database: &PgPool) -> Result<Option<Link>, sqlx::Error> {
    sqlx::query_as("SELECT kind, user_id, email, expires_at FROM links WHERE hash = $1")
        .bind(&random::hash(token.as_bytes())[..])
        .fetch_optional(database)
        .await
}

/// Uses a link up and returns whose it was. Of requests that come together one gets it.
pub(crate) async fn consume(
    kind: Kind,
    token: &str,
    now: Timestamp,
    database: impl PgExecutor<'_>,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar(
        "DELETE FROM links WHERE hash = $1 AND kind = $2 AND expires_at > $3 RETURNING user_id",
    )
    .bind(&random::hash(token.as_bytes())[..])
    .bind(kind.name())
    .bind(Time(now))
    .fetch_optional(database)
    .await
}

/// Notes that a link makes its session now. False: it has made one before.
pub(crate) async fn use_for_session(
    token: &str,
    now: Timestamp,
    database: impl PgExecutor<'_>,
) -> Result<bool, sqlx::Error> {
    let query = sqlx::query("UPDATE links SET used_at = $2 WHERE hash = $1 AND used_at IS NULL");
    let query = query.bind(random::hash(token.as_bytes()).to_vec()).bind(Time(now));
    Ok(query.execute(database).await?.rows_affected() == 1)
}

/// Removes a user's links but for one, whose token is named.
pub(crate) async fn remove_others(
    user_id: &str,
    token: &str,
    database: impl PgExecutor<'_>,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query("DELETE FROM links WHERE user_id = $1 AND hash <> $2");
    let query = query.bind(user_id).bind(random::hash(token.as_bytes()).to_vec());
    query.execute(database).await.map(drop)
}
