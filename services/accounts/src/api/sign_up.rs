//! `POST /sign-up/email`.

use axum::{extract::State, response::Response};
use hsmd_support::chain;

use super::{
    Caller,
    answers::{SignedIn, json, with_cookie},
    body::{Fields, Form, Posted},
    email,
};
use crate::{
    Accounts,
    database::violates,
    error::{ApiError, SIGN_UP_DISABLED, USER_EXISTS},
    limits::Kind,
    passwords::Password,
    random,
    sessions::Session,
    time::Time,
    users::User,
};

pub(super) struct SignUp {
    name: String,
    email: String,
    password: String,
    image: Option<String>,
    callback: Option<String>,
    remember: bool,
}

impl Form for SignUp {
    const LOGIN: bool = true;

    fn read(fields: &mut Fields<'_>) -> Self {
        Self {
            name: fields.name(),
            email: fields.email("email"),
            password: fields.filled_password("password"),
            image: fields.image(),
            callback: fields.callback(),
            remember: fields.boolean("rememberMe").unwrap_or(true),
        }
    }
}

/// Makes a user and, unless their address must be verified first, a session.
pub(super) async fn sign_up(
    State(accounts): State<Accounts>,
    caller: Caller,
    Posted(form): Posted<SignUp>,
) -> Result<Response, ApiError> {
    if !accounts.config().users.sign_up {
        return Err(SIGN_UP_DISABLED.into());
    }
    let password = Password::new(&form.password)?;
    accounts.attempts().begin(Kind::Password, &form.email).await?;
    // Before the address is looked up: a known one costs the same.
    let hash = accounts.passwords().hash(caller.network, password).await?;
    let now = accounts.now();
    let user = User::new(form.name, form.email, form.image, Time(now));
    let verify_first = accounts.config().users.require_email_verification;
    let session = (!verify_first)
        .then(|| Session::new(&user.id, form.remember, &caller, now, &accounts.config().sessions));
    let mut transaction = accounts.database().begin().await?;
    let inserted = sqlx::query(
        "WITH new AS (INSERT INTO users (id, name, email, image, created_at, updated_at) \
           VALUES ($1, $2, $3, $4, $5, $5) RETURNING id) \
         INSERT INTO credentials (id, user_id, password_hash, created_at, updated_at) \
         SELECT $6, id, $7, $5, $5 FROM new",
    )
    .bind(&user.id)
    .bind(&user.name)
    .bind(&user.email)
    .bind(&user.image)
    .bind(user.created_at)
    .bind(random::alphanumeric(32))
    .bind(hash)
    .execute(&mut *transaction)
    .await;
    if let Err(error) = inserted {
        let known = violates(&error, "users_email_key");
        // With verification a known address is answered like a new one.
        return match (known, &session) {
            (true, None) => Ok(signed_up(&user, None)),
            (true, Some(_)) => Err(USER_EXISTS.into()),
            (false, _) => Err(error.into()),
        };
    }
    if let Some((session, cookie)) = &session {
        session.insert(cookie, &mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(match &session {
        Some((session, cookie)) => {
            with_cookie(&accounts, signed_up(&user, Some(session)), session, cookie)
        }
        None => {
            let (later, new, callback) = (accounts.clone(), user.clone(), form.callback);
            accounts.later(async move {
                // Three an hour for a recipient, as all mails.
                if let Err(error) = later.attempts().begin(Kind::Mail, &new.email).await {
                    tracing::warn!(error = %chain(&error), "verification mail not sent");
                    return Ok(());
                }
                email::verification(&later, &new, callback.as_deref()).await
            });
            signed_up(&user, None)
        }
    })
}

fn signed_up(user: &User, session: Option<&Session>) -> Response {
    let token = session.map(|session| session.token.as_str());
    json(SignedIn { redirect: None, token, url: None, user, session })
}
