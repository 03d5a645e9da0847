//! HTTP: the ten routes, what is refused before an operation is looked at, and the replies.

use std::net::SocketAddr;

use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, DefaultBodyLimit, State, rejection::BytesRejection},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
    routing::post,
};
use hsmd_protocol::{
    ChangeRecoveryKey, CreateAccount, CreateSession, DeleteAccount, Error, LinkDevice, Received,
    RecoverAccount, RefreshSession, RequestSession, RotateDevice, UnlinkDevice, error_json,
    sign_reply,
};
use hsmd_runtime::{Metrics, client_address, cors};

use crate::{Auth, operations, operations::Perform};

/// The protocol's code for what it has no code for.
const GENERAL: &str = "BA000";

/// All routes.
pub(crate) fn router(auth: Auth) -> Router {
    let health = auth.health();
    let metrics = Metrics::new("hsmd_auth").with_health(health.clone());
    auth.0.hsm.certificate.register(&metrics);
    let router = Router::new()
        .merge(operation::<CreateAccount>())
        .merge(operation::<RecoverAccount>())
        .merge(operation::<DeleteAccount>())
        .merge(operation::<RotateDevice>())
        .merge(operation::<LinkDevice>())
        .merge(operation::<UnlinkDevice>())
        .merge(operation::<ChangeRecoveryKey>())
        .merge(operation::<RequestSession>())
        .merge(operation::<CreateSession>())
        .merge(operation::<RefreshSession>())
        .layer(DefaultBodyLimit::max(auth.0.limits.body))
        .with_state(auth)
        .fallback(async || refusal(StatusCode::NOT_FOUND, "there is no such operation"))
        .method_not_allowed_fallback(async || {
            refusal(StatusCode::METHOD_NOT_ALLOWED, "operations are posted")
        });
    metrics.count(router).merge(health.routes()).merge(metrics.routes()).layer(cors())
}

fn operation<O: Perform + 'static>() -> Router<Auth> {
    Router::new().route(O::ROUTE, post(answer::<O>))
}

async fn answer<O: Perform + 'static>(
    State(auth): State<Auth>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    if !auth.accepts_from(client_address(peer.ip(), &headers, &auth.0.limits.trusted_proxies)) {
        return too_many();
    }
    if !auth.has_endorsed_keys() {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "the service is not available");
    }
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return refusal(rejection.status(), "the request can't be read"),
    };
    // In a task of its own: a caller who leaves must not part a commit from what follows it.
    let task = auth.0.tasks.spawn(perform::<O>(auth.clone(), body));
    task.await.unwrap_or_else(|error| {
        tracing::error!(%error, operation = O::ROUTE, "an operation did not come to its end");
        refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
    })
}

async fn perform<O: Perform>(auth: Auth, body: Bytes) -> Response {
    let request = match Received::<'_, O>::parse(&body) {
        Ok(request) => request,
        Err(error) => return refused(O::ROUTE, &error),
    };
    if !O::accepted(&auth, &request) {
        return too_many();
    }
    let nonce = request.nonce;
    match operations::perform(&auth, &request, auth.now()).await {
        Ok(response) => {
            json(StatusCode::OK, sign_reply(nonce, &response, &auth.0.response.private))
        }
        Err(error) => refused(O::ROUTE, &error),
    }
}

/// An error reply; the detail goes to our log only.
fn refused(operation: &str, error: &Error) -> Response {
    let cause: &dyn std::error::Error = error;
    if matches!(error, Error::Unavailable(_)) {
        tracing::warn!(error = cause, operation, "request not decided");
    } else {
        tracing::info!(error = cause, operation, "request refused");
    }
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json(status, error.to_json())
}

fn too_many() -> Response {
    let mut response = refusal(StatusCode::TOO_MANY_REQUESTS, "too many requests");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn refusal(status: StatusCode, message: &str) -> Response {
    json(status, error_json(GENERAL, message))
}

fn json(status: StatusCode, text: String) -> Response {
    (status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}
