//! What every request goes through before its endpoint, and every answer after it.

use std::time::Duration;

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
use tokio::time::{error::Elapsed, timeout};
use tracing::Instrument as _;

use super::{Caller, cookies, cors, counted_path, page};
use crate::{
    Accounts,
    error::{ApiError, ClearSession, Failure},
    random,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// After which the client of a request that took too long may come again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Asked for all the time, and nothing follows what they commit.
const READS: [&str; 5] = ["/get-session", "/session", "/token", "/jwks", "/ok"];

/// The outermost layer of [`super::router`].
pub(super) async fn through(
    State(accounts): State<Accounts>,
    request: Request,
    next: Next,
) -> Response {
    let page = cors::page(request.headers());
    let path = counted_path(request.uri().path());
    let mut response = identified(path, answer(&accounts, request, next)).await;
    let cleared = response.extensions_mut().remove::<ClearSession>().is_some();
    let headers = response.headers_mut();
    if cleared {
        cookies::clear(headers, accounts.is_secure());
    }
    cors::mark(page.as_ref(), accounts.origins(), headers);
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The same for the routes of gateways and services, whose paths are few.
pub(crate) async fn internal(
    State(accounts): State<Accounts>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    let answer = in_time(&accounts, next.run(request));
    identified(&path, async { answer.await.unwrap_or_else(ApiError::into_response) }).await
}

/// Gives a request an id, by which the log's line of a failure is found.
async fn identified(path: &str, answer: impl Future<Output = Response>) -> Response {
    let id = random::lower(16);
    let span = tracing::info_span!("request", id, path);
    let mut response = answer.instrument(span.clone()).await;
    if let Some(Failure(cause)) = response.extensions_mut().remove::<Failure>() {
        span.in_scope(|| {
            tracing::warn!(cause, status = response.status().as_u16(), "request failed")
        });
        response = with_id(response, &id).await;
    }
    // Letters and digits only.
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// Ends what takes too long: its password is not hashed any more, its connection is tried and given back.
async fn in_time(
    accounts: &Accounts,
    answer: impl Future<Output = Response>,
) -> Result<Response, ApiError> {
    let late =
        |source: Elapsed| ApiError::Unavailable { retry_after: RETRY_AFTER, source: source.into() };
    let longest = accounts.config().http.request_timeout;
    timeout(longest, accounts.noting(answer)).await.map_err(late)
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
    let refused = match page::is_here(parts.uri.path()) {
        true => page::refused,
        false => ApiError::into_response,
    };
    let caller = Caller::of(accounts, &parts);
    if let Err(retry_after) = accounts.accept(caller.network, counted_path(parts.uri.path())) {
        accounts.counters().limited();
        return refused(ApiError::TooMany { retry_after });
    }
    parts.extensions.insert(caller);
    let is_read = parts.method == Method::GET && READS.contains(&counted_path(parts.uri.path()));
    let answer = next.run(Request::from_parts(parts, body));
    if is_read {
        return in_time(accounts, answer).await.unwrap_or_else(refused);
    }
    // In a task of its own: a caller who leaves must not part a commit from what follows it.
    let (tasks, accounts) = (accounts.tasks(), accounts.clone());
    let answer = async move { in_time(&accounts, answer).await };
    let task = tasks.spawn(answer.in_current_span());
    let ended = task.await.unwrap_or_else(|error| Err(ApiError::Internal(error.into())));
    ended.unwrap_or_else(refused)
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
