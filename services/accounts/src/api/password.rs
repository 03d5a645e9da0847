//! Changing the password, and comparing it once more.

use axum::{extract::State, response::Response};

use super::{
    Caller,
    answers::{SignedIn, Status, json, with_cookie},
    body::{Fields, Form, Posted},
};
use crate::{
    Accounts,
    error::{ApiError, INVALID_PASSWORD},
    limits::Kind,
    links,
    passwords::Password,
    sessions::{self, Session},
    time::Time,
    users::User,
};

pub(super) struct Change {
    current: String,
    new: String,
    revoke_others: Option<bool>,
}

impl Form for Change {
    fn read(fields: &mut Fields<'_>) -> Self {
        Self {
            new: fields.password("newPassword"),
            current: fields.password("currentPassword"),
            revoke_others: fields.boolean("revokeOtherSessions"),
        }
    }
}

/// `POST /change-password`. Other sessions end unless they are to be kept by name; with `true` this one
/// is replaced too.
pub(super) async fn change(
    State(accounts): State<Accounts>,
    caller: Caller,
    Posted(form): Posted<Change>,
) -> Result<Response, ApiError> {
    let found = caller.require(&accounts).await?;
    let new = Password::new(&form.new)?;
    let stored = confirm(&accounts, &caller, &found.user, &form.current).await?;
    let hash = accounts.passwords().hash(caller.network, new).await?;
    let (user, now) = (found.user, accounts.now());
    let mut transaction = accounts.database().begin().await?;
    // First this row, which a sign-in holds while it makes a session.
    let changed = sqlx::query(
        "UPDATE credentials SET password_hash = $3, updated_at = $4 \
         WHERE user_id = $1 AND password_hash = $2",
    )
    .bind(&user.id)
    .bind(stored)
    .bind(hash)
    .bind(Time(now))
    .execute(&mut *transaction)
    .await?;
    if changed.rows_affected() != 1 {
        return Err(INVALID_PASSWORD.into());
    }
    let alive =
        sqlx::query("SELECT 1 FROM sessions WHERE id = $1 AND revoked_at IS NULL FOR UPDATE");
    if alive.bind(&found.session.id).fetch_optional(&mut *transaction).await?.is_none() {
        return Err(ApiError::NoSession(sessions::NoSession::Revoked));
    }
    // A link that was asked for before is as good as the old password, but for one that only verifies.
    let links = sqlx::query("DELETE FROM links WHERE user_id = $1 AND kind <> $2");
    let links = links.bind(&user.id).bind(links::Kind::Verify.name());
    links.bind(&user.id).execute(&mut *transaction).await?;
    let kept = (form.revoke_others != Some(true)).then_some(found.session.id.as_str());
    if form.revoke_others != Some(false) {
        sessions::revoke_all(&user.id, kept, now, &mut *transaction).await?;
    }
    let replaced = match kept {
        Some(_) => None,
        None => {
            let (remember, config) = (found.session.remember, &accounts.config().sessions);
            let new = Session::new(&user.id, remember, &caller, now, config);
            new.0.insert(&new.1, &mut *transaction).await?;
            Some(new)
        }
    };
    transaction.commit().await?;
    let session = replaced.as_ref().map(|(session, _)| session);
    let token = session.map(|session| session.token.as_str());
    let response = json(SignedIn { redirect: None, token, url: None, user: &user, session });
    Ok(match &replaced {
        Some((session, cookie)) => with_cookie(&accounts, response, session, cookie),
        None => response,
    })
}

pub(super) struct Verify {
    password: String,
}

impl Form for Verify {
    fn read(fields: &mut Fields<'_>) -> Self {
        Self { password: fields.password("password") }
    }
}

/// `POST /verify-password`.
pub(super) async fn verify(
    State(accounts): State<Accounts>,
    caller: Caller,
    Posted(form): Posted<Verify>,
) -> Result<Response, ApiError> {
    let found = caller.require(&accounts).await?;
    confirm(&accounts, &caller, &found.user, &form.password).await?;
    Ok(json(Status::TRUE))
}

/// Compares a signed-in user's password, counted like a sign-in, and returns its stored hash.
pub(super) async fn confirm(
    accounts: &Accounts,
    caller: &Caller,
    user: &User,
    password: &str,
) -> Result<String, ApiError> {
    // One that is too long is none.
    let password = Password::submitted(password).map_err(|_| INVALID_PASSWORD)?;
    accounts.attempts().begin(Kind::Password, &user.email).await?;
    let stored: Option<String> =
        sqlx::query_scalar("SELECT password_hash FROM credentials WHERE user_id = $1")
            .bind(&user.id)
            .fetch_optional(accounts.database())
            .await?;
    let checked = accounts.passwords().check(caller.network, password, stored.clone()).await?;
    match stored {
        Some(stored) if checked.matches => {
            accounts.attempts().forget(&user.email).await?;
            Ok(stored)
        }
        _ => Err(INVALID_PASSWORD.into()),
    }
}
