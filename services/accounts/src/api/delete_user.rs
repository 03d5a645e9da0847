//! Deleting the account: at once with the password, or by a link in a mail.

use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use serde_json::json as value;

use super::{
    Caller,
    answers::{cleared, json, redirect},
    body::{Fields, Form, Posted},
    password::confirm,
    query::Query,
};
use crate::{
    Accounts,
    error::{ApiError, INVALID_DELETE_TOKEN, NO_USER_INFO, SESSION_EXPIRED},
    limits,
    links::{self, Kind},
    mail,
    users::User,
};

/// How young a session must be to delete its account without a password where no mail is sent.
const FRESH: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

pub(super) struct Delete {
    password: Option<String>,
    token: Option<String>,
    callback: Option<String>,
}

impl Form for Delete {
    const OPTIONAL: bool = true;

    fn read(fields: &mut Fields<'_>) -> Self {
        let filled = |text: &String| !text.is_empty();
        Self {
            password: fields.has("password").then(|| fields.password("password")).filter(filled),
            token: fields.optional("token").filter(filled),
            callback: fields.callback(),
        }
    }
}

/// `POST /delete-user`.
pub(super) async fn delete(
    State(accounts): State<Accounts>,
    caller: Caller,
    Posted(form): Posted<Delete>,
) -> Result<Response, ApiError> {
    let found = caller.require(&accounts).await?;
    if !accounts.config().users.delete_user {
        return Err(ApiError::NotFound);
    }
    if let Some(password) = &form.password {
        confirm(&accounts, &caller, &found.user, password).await?;
    }
    if let Some(token) = &form.token {
        return by_token(&accounts, &found.user, token).await;
    }
    if form.password.is_none() && accounts.sends_mail() {
        return send(&accounts, found.user, form.callback).await;
    }
    let age = accounts.now().saturating_since(found.session.created_at.0);
    if form.password.is_none() && age >= FRESH {
        return Err(SESSION_EXPIRED.into());
    }
    let query = sqlx::query("DELETE FROM users WHERE id = $1");
    query.bind(&found.user.id).execute(accounts.database()).await?;
    Ok(deleted())
}

/// `GET /delete-user/callback`: what the mail's link leads to. It needs the user's session too.
pub(super) async fn callback(
    State(accounts): State<Accounts>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    if !accounts.config().users.delete_user {
        return Err(ApiError::NotFound);
    }
    let query = Query::new(query.as_deref());
    let token = query.required("token")?;
    query.check_callback(accounts.origins())?;
    let Ok(found) = caller.session(&accounts).await? else { return Err(NO_USER_INFO.into()) };
    let response = by_token(&accounts, &found.user, &token).await?;
    Ok(match query.get("callbackURL") {
        Some(page) => cleared(redirect(&page)),
        None => response,
    })
}

async fn send(
    accounts: &Accounts,
    user: User,
    callback: Option<String>,
) -> Result<Response, ApiError> {
    accounts.attempts().begin(limits::Kind::Mail, &user.email).await?;
    let later = accounts.clone();
    accounts.later(async move {
        let token =
            links::make(Kind::Delete, &user.id, None, later.now(), later.database()).await?;
        let path = format!("/delete-user/callback?token={token}&");
        let url = later.link(&path, callback.as_deref().unwrap_or("/"));
        later.send(mail::Mail { kind: mail::Kind::DeleteAccount, to: user.email, url, token });
        Ok(())
    });
    Ok(json(value!({"success": true, "message": "Verification email sent"})))
}

/// Deletes a user whose link this is; others' links are not used up.
async fn by_token(accounts: &Accounts, user: &User, token: &str) -> Result<Response, ApiError> {
    let mut transaction = accounts.database().begin().await?;
    let owner = links::consume(Kind::Delete, token, accounts.now(), &mut *transaction).await?;
    if owner.as_ref() != Some(&user.id) {
        return Err(INVALID_DELETE_TOKEN.into());
    }
    let query = sqlx::query("DELETE FROM users WHERE id = $1");
    query.bind(&user.id).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(deleted())
}

fn deleted() -> Response {
    cleared(json(value!({"success": true, "message": "User deleted"})))
}
