//! `POST /sign-in/email`.

use axum::{extract::State, http::header::LOCATION, response::Response};
use sqlx::PgPool;

use super::{
    Caller,
    answers::{SignedIn, json, location, with_cookie},
    body::{Fields, Form, Posted},
};
use crate::{
    Accounts,
    error::{ApiError, EMAIL_NOT_VERIFIED, INVALID_CREDENTIALS, INVALID_EMAIL},
    limits::Kind,
    passwords::Password,
    sessions::Session,
    time::Time,
    users::{User, is_email},
};

/// How often a password is compared again because its hash was replaced meanwhile.
const ROUNDS: usize = 3;

pub(super) struct SignIn {
    email: String,
    password: String,
    remember: bool,
    callback: Option<String>,
}

impl Form for SignIn {
    const LOGIN: bool = true;

    fn read(fields: &mut Fields<'_>) -> Self {
        Self {
            email: fields.string("email").to_ascii_lowercase(),
            password: fields.password("password"),
            remember: fields.boolean("rememberMe").unwrap_or(true),
            callback: fields.callback(),
        }
    }
}

/// Compares the password and makes a session. An unknown address, a wrong password and an account
/// without one have the same answer and cost the same.
pub(super) async fn sign_in(
    State(accounts): State<Accounts>,
    caller: Caller,
    Posted(form): Posted<SignIn>,
) -> Result<Response, ApiError> {
    if !is_email(&form.email) {
        return Err(INVALID_EMAIL.into());
    }
    let password = Password::submitted(&form.password)?;
    accounts.attempts().begin(Kind::Password, &form.email).await?;
    for _ in 0..ROUNDS {
        let found = find(&form.email, accounts.database()).await?;
        let (user, stored) = found.map_or((None, None), |(user, hash)| (Some(user), hash));
        let checked =
            accounts.passwords().check(caller.network, password.clone(), stored.clone()).await?;
        let (Some(user), Some(stored), true) = (user, stored, checked.matches) else {
            return Err(INVALID_CREDENTIALS.into());
        };
        if accounts.config().users.require_email_verification && !user.email_verified {
            return Err(EMAIL_NOT_VERIFIED.into());
        }
        let (session, cookie) = Session::new(
            &user.id,
            form.remember,
            &caller,
            accounts.now(),
            &accounts.config().sessions,
        );
        if !session.insert_for(&cookie, &stored, accounts.database()).await? {
            // The password was changed, or its hash replaced by another sign-in.
            continue;
        }
        if let Some(replacement) = checked.replacement {
            replace(&user.id, &stored, &replacement, Time(accounts.now()), accounts.database())
                .await?;
        }
        accounts.attempts().forget(&form.email).await?;
        let url = form.callback.as_deref();
        let mut response = json(SignedIn {
            redirect: Some(url.is_some()),
            token: Some(&session.token),
            url,
            user: &user,
            session: Some(&session),
        });
        if let Some(url) = url.and_then(location) {
            response.headers_mut().insert(LOCATION, url);
        }
        return Ok(with_cookie(&accounts, response, &session, &cookie));
    }
    Err(INVALID_CREDENTIALS.into())
}

/// A user by their address, and the hash of their password if they have one.
async fn find(
    email: &str,
    database: &PgPool,
) -> Result<Option<(User, Option<String>)>, sqlx::Error> {
    #[derive(sqlx::FromRow)]
    struct Row {
        #[sqlx(flatten)]
        user: User,
        password_hash: Option<String>,
    }
    let row: Option<Row> = sqlx::query_as(
        "SELECT u.*, c.password_hash FROM users u LEFT JOIN credentials c ON c.user_id = u.id \
         WHERE u.email = $1",
    )
    .bind(email)
    .fetch_optional(database)
    .await?;
    Ok(row.map(|row| (row.user, row.password_hash)))
}

/// Replaces an outdated hash, unless the password was changed meanwhile.
async fn replace(
    user_id: &str,
    outdated: &str,
    replacement: &str,
    now: Time,
    database: &PgPool,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE credentials SET password_hash = $3, updated_at = $4 \
         WHERE user_id = $1 AND password_hash = $2",
    )
    .bind(user_id)
    .bind(outdated)
    .bind(replacement)
    .bind(now)
    .execute(database)
    .await
    .map(drop)
}
