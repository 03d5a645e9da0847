//! Signing out, and the list of a user's sessions.

use axum::{extract::State, response::Response};
use serde_json::json as value;

use super::{
    Caller,
    answers::{Status, cleared, json},
    body::{Empty, Fields, Form, Posted},
};
use crate::{Accounts, error::ApiError, sessions};

/// `POST /sign-out`: ends the session, if there is one.
pub(super) async fn sign_out(
    State(accounts): State<Accounts>,
    caller: Caller,
    Posted(Empty): Posted<Empty>,
) -> Result<Response, ApiError> {
    if caller.cookie().is_some()
        && let Ok(found) = caller.session(&accounts).await?
    {
        let session = found.session;
        sessions::revoke(&session.user_id, &session.token, accounts.now(), accounts.database())
            .await?;
    }
    Ok(cleared(json(value!({"success": true}))))
}

/// `GET /list-sessions`.
pub(super) async fn list(
    State(accounts): State<Accounts>,
    caller: Caller,
) -> Result<Response, ApiError> {
    let found = caller.require(&accounts).await?;
    let list = sessions::list(&found.user.id, accounts.now(), accounts.database()).await?;
    Ok(json(list))
}

pub(super) struct Revoke {
    token: String,
}

impl Form for Revoke {
    fn read(fields: &mut Fields<'_>) -> Self {
        Self { token: fields.string("token") }
    }
}

/// `POST /revoke-session`: ends one of the user's sessions. Of unknown ones and others' it says nothing.
pub(super) async fn revoke(
    State(accounts): State<Accounts>,
    caller: Caller,
    Posted(form): Posted<Revoke>,
) -> Result<Response, ApiError> {
    let found = caller.require(&accounts).await?;
    sessions::revoke(&found.user.id, &form.token, accounts.now(), accounts.database()).await?;
    let answer = json(Status::TRUE);
    Ok(if form.token == found.session.token { cleared(answer) } else { answer })
}

/// `POST /revoke-sessions`: ends all of the user's sessions.
pub(super) async fn revoke_all(
    State(accounts): State<Accounts>,
    caller: Caller,
    Posted(Empty): Posted<Empty>,
) -> Result<Response, ApiError> {
    let found = caller.require(&accounts).await?;
    sessions::revoke_all(&found.user.id, None, accounts.now(), accounts.database()).await?;
    Ok(cleared(json(Status::TRUE)))
}

/// `POST /revoke-other-sessions`: ends all but this one.
pub(super) async fn revoke_others(
    State(accounts): State<Accounts>,
    caller: Caller,
    Posted(Empty): Posted<Empty>,
) -> Result<Response, ApiError> {
    let found = caller.require(&accounts).await?;
    let this = Some(found.session.id.as_str());
    sessions::revoke_all(&found.user.id, this, accounts.now(), accounts.database()).await?;
    Ok(json(Status::TRUE))
}
