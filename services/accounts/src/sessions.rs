//! Sessions: a row in the database and a cookie with its token and a secret.

use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use hsmd_chain::Timestamp;
use serde::Serialize;
use sqlx::{FromRow, PgExecutor, PgPool, Row as _};
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::{api::Caller, config::SessionsConfig, random, time::Time, users::User};

/// How many letters and digits a token has.
const TOKEN: usize = 32;

/// The longest user agent that is kept.
const USER_AGENT: usize = 512;

/// A session as the wire has it. The token names it; without the secret it opens nothing.
#[derive(Clone, Debug, Serialize, FromRow, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) user_id: String,
    pub(crate) expires_at: Time,
    pub(crate) created_at: Time,
    pub(crate) updated_at: Time,
    pub(crate) ip_address: String,
    pub(crate) user_agent: String,
    /// Whether it lasts beyond the browser and is extended when used.
    #[serde(skip)]
    pub(crate) remember: bool,
}

/// What the cookie holds: `<token>.<base64 of 32 random bytes>`.
#[derive(Clone)]
pub(crate) struct SessionCookie {
    pub(crate) token: String,
    secret: Zeroizing<[u8; 32]>,
}

/// A session that is good now, and whose it is.
pub(crate) struct Authenticated {
    pub(crate) session: Session,
    pub(crate) user: User,
    pub(crate) cookie: SessionCookie,
}

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum NoSession {
    /// The request has no session cookie.
    NoCookie,
    /// Its cookie is not of our making: as if there were none.
    Forged,
    /// There is no such session, perhaps no more.
    Unknown,
    /// It has ended by itself.
    Expired,
    /// It was ended.
    Revoked,
}

impl NoSession {
    /// For the log and metrics.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::NoCookie => "no cookie",
            Self::Forged => "forged",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }

    /// Whether the browser should forget its cookie.
    pub(crate) fn clears(self) -> bool {
        matches!(self, Self::Unknown | Self::Expired | Self::Revoked)
    }
}

impl SessionCookie {
    fn new() -> Self {
        Self { token: random::alphanumeric(TOKEN), secret: Zeroizing::new(random::secret()) }
    }

    /// Takes a cookie's value, already percent-decoded.
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let (token, secret) = value.split_once('.')?;
        let form = token.len() == TOKEN && token.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let mut bytes = Zeroizing::new([0; 32]);
        let length = Base64::decode(secret, &mut *bytes).ok()?.len();
        (form && length == 32).then(|| Self { token: token.to_owned(), secret: bytes })
    }

    /// The cookie's value, not yet percent-encoded.
    pub(crate) fn value(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(Base64::encode_string(&*self.secret));
        Zeroizing::new(format!("{}.{}", self.token, *secret))
    }

    fn hash(&self) -> [u8; 32] {
        random::hash(&*self.secret)
    }
}

impl Session {
    /// A session that is not in the database yet, and its cookie.
    pub(crate) fn new(
        user_id: &str,
        remember: bool,
        caller: &Caller,
        now: Timestamp,
        config: &SessionsConfig,
    ) -> (Self, SessionCookie) {
        let cookie = SessionCookie::new();
        let lifetime = if remember { config.lifetime } else { config.short };
        let session = Self {
            id: random::alphanumeric(32),
            token: cookie.token.clone(),
            user_id: user_id.to_owned(),
            expires_at: Time(now.saturating_add(lifetime)),
            created_at: Time(now),
            updated_at: Time(now),
            ip_address: caller.address.to_string(),
            user_agent: caller.user_agent.chars().take(USER_AGENT).collect(),
            remember,
        };
        (session, cookie)
    }

    /// Stores it.
    pub(crate) async fn insert(
        &self,
        cookie: &SessionCookie,
        database: impl PgExecutor<'_>,
    ) -> Result<(), sqlx::Error> {
        let statement = "INSERT INTO sessions (id, token, secret_hash, user_id, remember, \
             ip_address, user_agent, created_at, updated_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9)";
        self.bound(statement, cookie).execute(database).await.map(drop)
    }

    /// Stores it unless the user's password has changed since `password_hash` was read. A change of the
    /// password holds the row that this looks at, so either this session is there for it to end, or its
    /// new hash is here to be seen. False: nothing was stored.
    pub(crate) async fn insert_for(
        &self,
        cookie: &SessionCookie,
        password_hash: &str,
        database: impl PgExecutor<'_>,
    ) -> Result<bool, sqlx::Error> {
        let statement = "WITH unchanged AS (SELECT 1 FROM credentials \
               WHERE user_id = $4 AND password_hash = $10 FOR SHARE) \
             INSERT INTO sessions (id, token, secret_hash, user_id, remember, \
               ip_address, user_agent, created_at, updated_at, expires_at) \
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $8, $9 FROM unchanged";
        let query = self.bound(statement, cookie).bind(password_hash);
        Ok(query.execute(database).await?.rows_affected() == 1)
    }

    fn bound(
        &self,
        statement: &'static str,
        cookie: &SessionCookie,
    ) -> sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments> {
        sqlx::query(statement)
            .bind(&self.id)
            .bind(&self.token)
            .bind(cookie.hash().to_vec())
            .bind(&self.user_id)
            .bind(self.remember)
            .bind(&self.ip_address)
            .bind(&self.user_agent)
            .bind(self.created_at)
            .bind(self.expires_at)
    }

    /// Whether its use should extend it: it is remembered, and `update_age` has passed since it last was.
    pub(crate) fn is_due(&self, now: Timestamp, config: &SessionsConfig) -> bool {
        let left = self.expires_at.0.saturating_since(now);
        self.remember && left + config.update_age <= config.lifetime
    }

    /// Extends it. False if it has ended or another request has extended it meanwhile.
    pub(crate) async fn extend(
        &mut self,
        now: Timestamp,
        lifetime: Duration,
        database: &PgPool,
    ) -> Result<bool, sqlx::Error> {
        let until = Time(now.saturating_add(lifetime));
        let extended = sqlx::query(
            "UPDATE sessions SET expires_at = $2, updated_at = $3 \
             WHERE id = $1 AND revoked_at IS NULL AND expires_at < $2",
        )
        .bind(&self.id)
        .bind(until)
        .bind(Time(now))
        .execute(database)
        .await?
        .rows_affected()
            == 1;
        if extended {
            (self.expires_at, self.updated_at) = (until, Time(now));
        }
        Ok(extended)
    }
}

/// Looks a cookie's session up: one round trip.
pub(crate) async fn find(
    cookie: SessionCookie,
    now: Timestamp,
    database: &PgPool,
) -> Result<Result<Authenticated, NoSession>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT s.id, s.token, s.user_id, s.expires_at, s.created_at, s.updated_at, s.ip_address, \
           s.user_agent, s.remember, s.secret_hash, s.revoked_at, \
           u.name, u.email, u.email_verified, u.image, u.created_at, u.updated_at, u.id \
         FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.token = $1",
    )
    .bind(&cookie.token)
    .fetch_optional(database)
    .await?;
    let Some(row) = row else { return Ok(Err(NoSession::Unknown)) };
    let secret_hash: &[u8] = row.try_get(9)?;
    if !bool::from(secret_hash.ct_eq(&cookie.hash())) {
        return Ok(Err(NoSession::Forged));
    }
    if row.try_get::<Option<Time>, _>(10)?.is_some() {
        return Ok(Err(NoSession::Revoked));
    }
    // By position: two columns have the same names.
    let session = Session {
        id: row.try_get(0)?,
        token: row.try_get(1)?,
        user_id: row.try_get(2)?,
        expires_at: row.try_get(3)?,
        created_at: row.try_get(4)?,
        updated_at: row.try_get(5)?,
        ip_address: row.try_get(6)?,
        user_agent: row.try_get(7)?,
        remember: row.try_get(8)?,
    };
    if session.expires_at.0 <= now {
        return Ok(Err(NoSession::Expired));
    }
    let user = User {
        name: row.try_get(11)?,
        email: row.try_get(12)?,
        email_verified: row.try_get(13)?,
        image: row.try_get(14)?,
        created_at: row.try_get(15)?,
        updated_at: row.try_get(16)?,
        id: row.try_get(17)?,
    };
    Ok(Ok(Authenticated { session, user, cookie }))
}

/// The user's sessions that are good now, newest first.
pub(crate) async fn list(
    user_id: &str,
    now: Timestamp,
    database: &PgPool,
) -> Result<Vec<Session>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, token, user_id, expires_at, created_at, updated_at, ip_address, user_agent, \
           remember FROM sessions WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 \
         ORDER BY created_at DESC, id",
    )
    .bind(user_id)
    .bind(Time(now))
    .fetch_all(database)
    .await
}

/// Ends one session of a user; others' and unknown ones stay as they are.
pub(crate) async fn revoke(
    user_id: &str,
    token: &str,
    now: Timestamp,
    database: impl PgExecutor<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE sessions SET revoked_at = $3 \
         WHERE user_id = $1 AND token = $2 AND revoked_at IS NULL",
    )
    .bind(user_id)
    .bind(token)
    .bind(Time(now))
    .execute(database)
    .await
    .map(drop)
}

/// Ends all sessions of a user, but for one if that is named.
pub(crate) async fn revoke_all(
    user_id: &str,
    but: Option<&str>,
    now: Timestamp,
    database: impl PgExecutor<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE sessions SET revoked_at = $3 \
         WHERE user_id = $1 AND id IS DISTINCT FROM $2 AND revoked_at IS NULL",
    )
    .bind(user_id)
    .bind(but)
    .bind(Time(now))
    .execute(database)
    .await
    .map(drop)
}

/// Ends all sessions of all users, and says how many there were.
pub(crate) async fn revoke_everybodys(
    now: Timestamp,
    database: &PgPool,
) -> Result<u64, sqlx::Error> {
    let mut revoked = 0;
    loop {
        // In pieces: each ends within the timeout of a statement, and stays done.
        let query = sqlx::query(
            "UPDATE sessions SET revoked_at = $1 WHERE id IN \
             (SELECT id FROM sessions WHERE revoked_at IS NULL AND expires_at > $1 LIMIT 5000)",
        );
        let piece = query.bind(Time(now)).execute(database).await?.rows_affected();
        if piece == 0 {
            return Ok(revoked);
        }
        revoked += piece;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_has_one_form() {
        let cookie = SessionCookie::new();
        let value = cookie.value().to_string();
        assert_eq!(value.len(), 32 + 1 + 44);
        assert_eq!(SessionCookie::parse(&value).unwrap().hash(), cookie.hash());
        let (token, secret) = value.split_once('.').unwrap();
        for bad in [
            "",
            ".",
            token,
            &value[1..],
            &value[..76],
            &format!("{value}="),
            &format!("{value}.x"),
            &format!("{token}.{}", &secret[1..]),
            &format!("{}!.{secret}", &token[1..]),
            &format!("{token}. {secret}"),
            &format!("{token}.{}", secret.trim_end_matches('=')),
        ] {
            assert!(SessionCookie::parse(bad).is_none(), "{bad}");
        }
    }
}
