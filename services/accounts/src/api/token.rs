//! `/token` and `/jwks`.

use axum::{
    extract::State,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
    },
    response::{IntoResponse as _, Response},
};
use serde_json::json as value;

use super::{
    Caller,
    answers::json,
    body::{Empty, Posted},
    caller::text,
};
use crate::{Accounts, error::ApiError};

/// `GET /token`: a JWT of the session's user.
pub(super) async fn token(
    State(accounts): State<Accounts>,
    caller: Caller,
) -> Result<Response, ApiError> {
    let found = caller.require(&accounts).await?;
    let token = accounts.tokens().sign(&found.user, accounts.keys(), accounts.now())?;
    Ok(json(value!({"token": *token})))
}

/// `POST /token`, for clients of plain REST.
pub(super) async fn token_by_post(
    accounts: State<Accounts>,
    caller: Caller,
    Posted(Empty): Posted<Empty>,
) -> Result<Response, ApiError> {
    token(accounts, caller).await
}

/// `GET /jwks`: the keys of all replicas.
pub(super) async fn jwks(
    State(accounts): State<Accounts>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let jwks = accounts.keys().jwks()?;
    let known = text(&headers, &IF_NONE_MATCH).split(',').any(|etag| {
        let etag = etag.trim();
        etag == "*" || etag.strip_prefix("W/").unwrap_or(etag) == jwks.etag
    });
    let mut response = match known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(CONTENT_TYPE, "application/json")], jwks.body).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=15"));
    if let Ok(etag) = HeaderValue::from_str(&jwks.etag) {
        headers.insert(ETAG, etag);
    }
    Ok(response)
}
