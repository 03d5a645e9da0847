//! HTTP: the one route, what is refused before it is looked at, and the replies.

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use hsmd_protocol::{
    Error,
    access::{Required, refusal, verify},
    error_json, sign_reply,
};
use hsmd_runtime::{Metrics, cors};
use serde::{Deserialize, Serialize};

use crate::App;

/// The protocol's code for what it has no code for.
const GENERAL: &str = "BA000";

/// What the holder of a token must be permitted.
const REQUIRED: Required<'static> = Required { role: "user", permission: "read" };

/// The request's members.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FooBar {
    foo: String,
    bar: String,
}

/// The response's members, in the order of the wire form.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WasFooBar<'a> {
    was_foo: String,
    was_bar: String,
    server_name: &'a str,
}

/// All routes.
pub(crate) fn router(app: App) -> Router {
    let health = app.health();
    let metrics = Metrics::new("hsmd_app").with_health(health.clone());
    app.0.hsm.certificate.register(&metrics);
    let router = Router::new()
        .route("/foo/bar", post(foo_bar))
        .layer(DefaultBodyLimit::max(app.0.max_body))
        .with_state(app)
        .fallback(async || refuse(StatusCode::NOT_FOUND, "there is nothing here"))
        .method_not_allowed_fallback(async || {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "requests are posted")
        });
    metrics.count(router).merge(health.routes()).merge(metrics.routes()).layer(cors())
}

/// `POST /foo/bar`.
async fn foo_bar(State(app): State<App>, body: Result<Bytes, BytesRejection>) -> Response {
    // Without an endorsed key no reply could be believed.
    if !app.0.endorsed.is_usable(app.0.clock.now()) {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the service is not available");
    }
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return refuse(rejection.status(), "the request can't be read"),
    };
    match answer(&app, &body).await {
        Ok(reply) => json(StatusCode::OK, reply),
        Err(error) => refused(&error),
    }
}

async fn answer(app: &App, body: &[u8]) -> Result<String, Error> {
    let app = &*app.0;
    let now = app.clock.now();
    let access = verify(body, &app.servers, &app.stores, REQUIRED, app.window, now).await?;
    let request: FooBar = access.parse_request()?;
    let response =
        WasFooBar { was_foo: request.foo, was_bar: request.bar, server_name: &app.server_name };
    Ok(sign_reply(access.nonce(), &response, &app.key))
}

/// An error reply; the detail goes to our log only.
fn refused(error: &Error) -> Response {
    let cause: &dyn std::error::Error = error;
    if matches!(error, Error::Unavailable(_)) {
        tracing::warn!(error = cause, "request not decided");
    } else {
        tracing::info!(error = cause, "request refused");
    }
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json(status, refusal(error))
}

fn refuse(status: StatusCode, message: &str) -> Response {
    json(status, error_json(GENERAL, message))
}

fn json(status: StatusCode, text: String) -> Response {
    (status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}
