//! Setting a new password by a link in a mail.

use axum::{
    extract::{Path, RawQuery, State},
    response::Response,
};
use serde_json::json as value;
use sqlx::PgConnection;

use super::{
    Caller,
    answers::{Status, json, redirect},
    body::{Fields, Form, Posted},
    query::Query,
};
use crate::{
    Accounts,
    error::{ApiError, INVALID_TOKEN, RESET_DISABLED},
    limits,
    links::{self, Kind},
    mail, origin,
    passwords::Password,
    random, sessions,
    time::Time,
};

const SENT: &str = "If this email exists in our system, check your email for the reset link";

pub(super) struct Request {
    email: String,
    redirect: Option<String>,
}

impl Form for Request {
    fn read(fields: &mut Fields<'_>) -> Self {
        Self { email: fields.email("email"), redirect: fields.redirect() }
    }
}

/// `POST /request-password-reset`, which 1.2 calls `/forget-password`. It answers before it looks.
pub(super) async fn request(
    State(accounts): State<Accounts>,
    Posted(form): Posted<Request>,
) -> Result<Response, ApiError> {
    if !accounts.sends_mail() {
        return Err(RESET_DISABLED.into());
    }
    accounts.attempts().begin(limits::Kind::Mail, &form.email).await?;
    let later = accounts.clone();
    accounts.later(async move {
        let user: Option<String> = sqlx::query_scalar("SELECT id FROM users WHERE email = $1")
            .bind(&form.email)
            .fetch_optional(later.database())
            .await?;
        let Some(user) = user else { return Ok(()) };
        let token = links::make(Kind::Reset, &user, None, later.now(), later.database()).await?;
        let callback = form.redirect.as_deref().unwrap_or_default();
        let url = later.link(&format!("/reset-password/{token}?"), callback);
        later.send(mail::Mail { kind: mail::Kind::ResetPassword, to: form.email, url, token });
        Ok(())
    });
    Ok(json(value!({"status": true, "message": SENT})))
}

/// `GET /reset-password/<token>`: on to the page that asks for the new password.
pub(super) async fn callback(
    State(accounts): State<Accounts>,
    Path(token): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let query = Query::new(query.as_deref());
    let callback = query.required("callbackURL")?;
    query.check_callback(accounts.origins())?;
    let base = accounts.origins().own().as_str();
    let page = match callback.as_str() {
        "" => format!("{base}{}/error", super::BASE),
        path if path.starts_with('/') => format!("{base}{path}"),
        url => url.to_owned(),
    };
    let link = links::find(&token, accounts.database()).await?;
    let good = link
        .is_some_and(|link| link.kind() == Some(Kind::Reset) && link.expires_at.0 > accounts.now());
    Ok(match good && !callback.is_empty() {
        true => redirect(&origin::with_parameter(&page, "token", &token)),
        false => redirect(&origin::with_parameter(&page, "error", "INVALID_TOKEN")),
    })
}

pub(super) struct Reset {
    password: String,
    token: Option<String>,
}

impl Form for Reset {
    fn read(fields: &mut Fields<'_>) -> Self {
        Self { password: fields.password("newPassword"), token: fields.optional("token") }
    }
}

/// `POST /reset-password`: the link is used up, the password replaced, and all sessions end.
pub(super) async fn reset(
    State(accounts): State<Accounts>,
    caller: Caller,
    RawQuery(query): RawQuery,
    Posted(form): Posted<Reset>,
) -> Result<Response, ApiError> {
    let in_query = Query::new(query.as_deref()).get("token");
    let token = form.token.filter(|token| !token.is_empty()).or(in_query).ok_or(INVALID_TOKEN)?;
    let password = Password::new(&form.password)?;
    // Nothing is hashed for a link that is not there.
    let link = links::find(&token, accounts.database()).await?.ok_or(INVALID_TOKEN)?;
    if link.kind() != Some(Kind::Reset) || link.expires_at.0 <= accounts.now() {
        return Err(INVALID_TOKEN.into());
    }
    let hash = accounts.passwords().hash(caller.network, password).await?;
    let now = accounts.now();
    let mut transaction = accounts.database().begin().await?;
    let user = links::consume(Kind::Reset, &token, now, &mut *transaction).await?;
    let user = user.ok_or(INVALID_TOKEN)?;
    store(&user, &hash, Time(now), &mut transaction).await?;
    sessions::revoke_all(&user, None, now, &mut *transaction).await?;
    links::remove_others(&user, &token, &mut *transaction).await?;
    let email: String = sqlx::query_scalar("SELECT email FROM users WHERE id = $1")
        .bind(&user)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.commit().await?;
    accounts.attempts().forget(&email).await?;
    Ok(json(Status::TRUE))
}

/// Stores a user's new hash; they may have had no password before.
async fn store(
    user: &str,
    hash: &str,
    now: Time,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO credentials (id, user_id, password_hash, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $4) ON CONFLICT (user_id) \
         DO UPDATE SET password_hash = excluded.password_hash, updated_at = excluded.updated_at",
    )
    .bind(random::alphanumeric(32))
    .bind(user)
    .bind(hash)
    .bind(now)
    .execute(connection)
    .await
    .map(drop)
}
