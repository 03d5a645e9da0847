//! What users change of themselves.

use axum::{extract::State, response::Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Caller,
    answers::{Status, json, with_cookie},
    body::{Fields, Form, Posted},
};
use crate::{
    Accounts,
    error::{ApiError, EMAIL_FIXED, NO_FIELDS},
    time::Time,
};

pub(super) struct Update {
    name: Option<String>,
    image: Option<Option<String>>,
    email: bool,
}

impl Form for Update {
    fn read(fields: &mut Fields<'_>) -> Self {
        Self {
            name: fields.loose_name(),
            image: fields.clearable_image(),
            email: fields.has("email"),
        }
    }
}

/// `POST /update-user`.
pub(super) async fn update(
    State(accounts): State<Accounts>,
    caller: Caller,
    Posted(form): Posted<Update>,
) -> Result<Response, ApiError> {
    let found = caller.require(&accounts).await?;
    if form.email {
        return Err(EMAIL_FIXED.into());
    }
    if form.name.is_none() && form.image.is_none() {
        return Err(NO_FIELDS.into());
    }
    sqlx::query(
        "UPDATE users SET name = COALESCE($2, name), \
           image = CASE WHEN $3 THEN $4 ELSE image END, updated_at = $5 WHERE id = $1",
    )
    .bind(&found.user.id)
    .bind(form.name)
    .bind(form.image.is_some())
    .bind(form.image.flatten())
    .bind(Time(accounts.now()))
    .execute(accounts.database())
    .await?;
    Ok(with_cookie(&accounts, json(Status::TRUE), &found.session, &found.cookie))
}

/// A way to sign in.
#[derive(Serialize, ToSchema, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Account {
    id: String,
    account_id: String,
    provider_id: String,
    user_id: String,
    created_at: Time,
    updated_at: Time,
    scopes: Vec<String>,
}

/// `GET /list-accounts`: how a user may sign in.
pub(super) async fn list_accounts(
    State(accounts): State<Accounts>,
    caller: Caller,
) -> Result<Response, ApiError> {
    let found = caller.require(&accounts).await?;
    let list: Vec<Account> = sqlx::query_as(
        "SELECT id, user_id AS account_id, 'credential' AS provider_id, user_id, created_at, \
           updated_at, '{}'::text[] AS scopes FROM credentials WHERE user_id = $1",
    )
    .bind(&found.user.id)
    .fetch_all(accounts.database())
    .await?;
    Ok(json(list))
}
