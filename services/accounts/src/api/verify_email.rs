//! `GET /verify-email`: what the links do that verify or change an address. Programs that scan mails open
//! them too, so each answers the same until it expires, and makes one session at most.

use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use serde_json::json as value;

use super::{
    Caller,
    answers::{json, redirect, with_cookie},
    email::send_link,
    query::Query,
};
use crate::{
    Accounts,
    database::violates,
    error::{
        ApiError, EXPIRED_VERIFICATION, INVALID_USER, INVALID_VERIFICATION, Refusal, USER_EXISTS,
        USER_NOT_FOUND,
    },
    limits,
    links::{self, Kind, Link},
    mail, origin,
    sessions::{Authenticated, Session},
    time::Time,
    users::{self, User},
};

/// One opened link.
struct Opened<'a> {
    accounts: &'a Accounts,
    caller: &'a Caller,
    token: &'a str,
    link: Link,
    user: User,
    callback: Option<&'a str>,
}

/// How a link ends that can't be used.
enum Failed {
    /// Shown to its reader: on the page that the link names, if it names one.
    Refused(Refusal),
    Error(ApiError),
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Error(error.into())
    }
}

pub(super) async fn verify_email(
    State(accounts): State<Accounts>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let query = Query::new(query.as_deref());
    let token = query.required("token")?;
    query.check_callback(accounts.origins())?;
    let callback = query.get("callbackURL");
    match open(&accounts, &caller, &token, callback.as_deref()).await {
        Ok(response) => Ok(response),
        Err(Failed::Error(error)) => Err(error),
        Err(Failed::Refused(refusal)) => match callback {
            Some(page) => {
                let code = refusal.code.unwrap_or("UNKNOWN");
                Ok(redirect(&origin::with_parameter(&page, "error", code)))
            }
            None => Err(refusal.into()),
        },
    }
}

async fn open(
    accounts: &Accounts,
    caller: &Caller,
    token: &str,
    callback: Option<&str>,
) -> Result<Response, Failed> {
    let link = links::find(token, accounts.database()).await?.ok_or(INVALID_VERIFICATION)?;
    let kind = link.kind().ok_or(INVALID_VERIFICATION)?;
    if matches!(kind, Kind::Reset | Kind::Delete) {
        return Err(INVALID_VERIFICATION.into());
    }
    if link.expires_at.0 <= accounts.now() {
        return Err(EXPIRED_VERIFICATION.into());
    }
    let user = users::by_id(&link.user_id, accounts.database()).await?.ok_or(USER_NOT_FOUND)?;
    let opened = Opened { accounts, caller, token, link, user, callback };
    match kind {
        Kind::Verify => opened.verify().await,
        Kind::Change => opened.change().await,
        _ => opened.confirm().await,
    }
}

impl Opened<'_> {
    /// The user's address is theirs.
    async fn verify(mut self) -> Result<Response, Failed> {
        if self.link.email.as_deref() != Some(&self.user.email) {
            return Err(INVALID_VERIFICATION.into());
        }
        let (accounts, now) = (self.accounts, self.accounts.now());
        let mut made = None;
        if !self.user.email_verified {
            let present = self.session().await?;
            let mut transaction = accounts.database().begin().await?;
            let verified: Option<User> = sqlx::query_as(
                "UPDATE users SET email_verified = true, updated_at = $3 \
                 WHERE id = $1 AND email = $2 RETURNING *",
            )
            .bind(&self.user.id)
            .bind(&self.user.email)
            .bind(Time(now))
            .fetch_optional(&mut *transaction)
            .await?;
            self.user = verified.ok_or(INVALID_VERIFICATION)?;
            if accounts.config().users.auto_sign_in_after_verification
                && present.is_none_or(|it| it.user.id != self.user.id)
                && links::use_for_session(self.token, now, &mut *transaction).await?
            {
                let config = &accounts.config().sessions;
                let new = Session::new(&self.user.id, true, self.caller, now, config);
                new.0.insert(&new.1, &mut *transaction).await?;
                made = Some(new);
            }
            transaction.commit().await?;
        }
        let response = self.answer(value!({"status": true, "user": null}));
        Ok(match made {
            Some((session, cookie)) => with_cookie(accounts, response, &session, &cookie),
            None => response,
        })
    }

    /// The user gets the address that the link was sent to.
    async fn change(mut self) -> Result<Response, Failed> {
        let new = self.link.email.clone().ok_or(INVALID_VERIFICATION)?;
        let present = self.foreign_session_refused().await?;
        if self.user.email != new {
            let accounts = self.accounts;
            let mut transaction = accounts.database().begin().await?;
            let changed = sqlx::query_as(
                "UPDATE users SET email = $2, updated_at = $3 WHERE id = $1 RETURNING *",
            )
            .bind(&self.user.id)
            .bind(&new)
            .bind(Time(accounts.now()))
            .fetch_one(&mut *transaction)
            .await;
            self.user = match changed {
                Err(error) if violates(&error, "users_email_key") => {
                    return Err(USER_EXISTS.into());
                }
                changed => changed?,
            };
            // Those were for the address that is gone.
            links::remove_others(&self.user.id, self.token, &mut *transaction).await?;
            transaction.commit().await?;
        }
        let response = self.answer(value!({"status": true, "user": self.user}));
        Ok(match present {
            Some(it) => with_cookie(self.accounts, response, &it.session, &it.cookie),
            None => response,
        })
    }

    /// The new address is asked next.
    async fn confirm(self) -> Result<Response, Failed> {
        let new = self.link.email.clone().ok_or(INVALID_VERIFICATION)?;
        self.foreign_session_refused().await?;
        let (accounts, callback) = (self.accounts, self.callback);
        if self.user.email != new {
            accounts.attempts().begin(limits::Kind::Mail, &new).await.map_err(Failed::Error)?;
            let (id, database) = (&self.user.id, accounts.database());
            let token = links::make(Kind::Change, id, Some(&new), accounts.now(), database).await?;
            send_link(accounts, mail::Kind::Verification, &new, token, callback);
        }
        Ok(self.answer(value!({"status": true})))
    }

    fn answer(&self, body: serde_json::Value) -> Response {
        self.callback.map_or_else(|| json(body), redirect)
    }

    /// The request's session, which must not be another user's.
    async fn foreign_session_refused(&self) -> Result<Option<Authenticated>, Failed> {
        match self.session().await? {
            Some(it) if it.user.id != self.user.id => Err(INVALID_USER.into()),
            present => Ok(present),
        }
    }

    async fn session(&self) -> Result<Option<Authenticated>, sqlx::Error> {
        match self.caller.cookie() {
            Some(_) => Ok(self.caller.session(self.accounts).await?.ok()),
            None => Ok(None),
        }
    }
}
