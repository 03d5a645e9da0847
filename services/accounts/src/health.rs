//! `/`, `/live`, `/ready`, `/health` and `/metrics`: what people, balancers and monitors ask.

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{StatusCode, header::CACHE_CONTROL},
    middleware,
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde_json::{Value, json};

use crate::Accounts;

/// The routes outside of the API.
pub(crate) fn routes(accounts: &Accounts) -> Router {
    Router::new()
        .route("/", get(async || "hsmd-accounts: see /api/auth\n"))
        .route("/live", get(async || uncached(StatusCode::OK, json!({"status": "live"}))))
        .route("/ready", get(ready))
        .route("/health", get(health))
        .route("/health/key", get(key))
        .route("/api/health", get(health))
        .with_state(accounts.clone())
        .merge(
            accounts
                .metrics()
                .routes()
                .layer(middleware::map_request_with_state(accounts.clone(), look)),
        )
}

/// Before metrics are read: the gauge says what is so now, whether `/ready` is asked or not.
async fn look(State(accounts): State<Accounts>, request: Request) -> Request {
    accounts.counters().set_ready(accounts.problems().is_empty());
    request
}

/// Whether requests should be sent here.
async fn ready(State(accounts): State<Accounts>) -> Response {
    let problems = accounts.problems();
    match problems.is_empty() {
        true => uncached(StatusCode::OK, json!({"status": "ready"})),
        false => uncached(
            StatusCode::SERVICE_UNAVAILABLE,
            json!({"status": "not ready", "problems": problems}),
        ),
    }
}

/// 200 as long as the process answers.
async fn health(State(accounts): State<Accounts>) -> Response {
    let status = if accounts.problems().is_empty() { "ok" } else { "degraded" };
    let timestamp = accounts.now();
    let body = json!({"status": status, "service": "accounts", "timestamp": timestamp});
    uncached(StatusCode::OK, body)
}

/// Which generation has endorsed this replica's key, as the list of keys says; `null` while none has. For the
/// operator's scripts.
async fn key(State(accounts): State<Accounts>) -> Response {
    let generation = accounts.keys().generation().map(|id| id.to_string());
    uncached(StatusCode::OK, json!({"generationId": generation}))
}

fn uncached(status: StatusCode, body: Value) -> Response {
    (status, [(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}
