//! What every request goes through before its endpoint, and every answer after it.

use axum::{
    body::Body,
    extract::{Request, State},
    http::{
        HeaderName, HeaderValue, Method, StatusCode,
        header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS},
    },
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tracing::Instrument as _;

use super::{Caller, cookies, cors, counted_path};
use crate::{
    Accounts,
    error::{ApiError, ClearSession, Failure},
    random,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Asked for all the time, and nothing follows what they commit.
const READS: [&str; 5] = ["/get-session", "/session", "/token", "/jwks", "/ok"];

/// The outermost layer of [`super::router`].
pub(super) async fn through(
    State(accounts): State<Accounts>,
    request: Request,
    next: Next,
) -> Response {
    let id = random::lower(16);
    let page = cors::page(request.headers());
    let span = tracing::info_span!("request", id, path = counted_path(request.uri().path()));
    let mut response = answer(&accounts, request, next).instrument(span.clone()).await;
    if let Some(Failure(cause)) = response.extensions_mut().remove::<Failure>() {
        span.in_scope(|| {
            tracing::warn!(cause, status = response.status().as_u16(), "request failed")
        });
        response = with_id(response, &id).await;
    }
    let cleared = response.extensions_mut().remove::<ClearSession>().is_some();
    let headers = response.headers_mut();
    if cleared {
        cookies::clear(headers, accounts.is_secure());
    }
    cors::mark(page.as_ref(), accounts.origins(), headers);
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Letters and digits only.
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// Nothing is under this path and method.
pub(super) async fn not_found() -> StatusCode {
    StatusCode::NOT_FOUND
}

async fn answer(accounts: &Accounts, request: Request, next: Next) -> Response {
    match *request.method() {
        Method::OPTIONS => return cors::preflight(),
        Method::HEAD => return not_found().await.into_response(),
        _ => {}
    }
    let (mut parts, body) = request.into_parts();
    let caller = Caller::of(accounts, &parts);
    if let Err(retry_after) = accounts.accept(caller.network, counted_path(parts.uri.path())) {
        accounts.counters().limited();
        return ApiError::TooMany { retry_after }.into_response();
    }
    parts.extensions.insert(caller);
    let is_read = parts.method == Method::GET && READS.contains(&counted_path(parts.uri.path()));
    let request = Request::from_parts(parts, body);
    if is_read {
        return next.run(request).await;
    }
    // In a task of its own: a caller who leaves must not part a commit from what follows it.
    let task = accounts.tasks().spawn(next.run(request).in_current_span());
    task.await.unwrap_or_else(|error| ApiError::Internal(error.into()).into_response())
}

/// A failure's answer with the request's id in its body, by which the log's line is found.
async fn with_id(response: Response, id: &str) -> Response {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let Ok(Value::Object(mut members)) = serde_json::from_slice(&bytes) else {
        return Response::from_parts(parts, Body::from(bytes));
    };
    members.insert("requestId".to_owned(), id.into());
    let mut response = axum::Json(members).into_response();
    *response.status_mut() = parts.status;
    for (name, value) in &parts.headers {
        if name != axum::http::header::CONTENT_LENGTH {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}
