//! The routes.

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{
        HeaderMap, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    middleware,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};

use crate::{Gateway, error::Refusal, guard::guard, sign::sign, verify::verify};

/// The most bytes of a request's body.
const MAX_BODY: usize = 1 << 20;

pub(crate) fn router(gateway: &Gateway) -> Router {
    Router::new()
        .route("/sign", post(sign))
        .route("/verify", post(verify))
        .route("/log", get(log))
        .route("/head", get(head))
        .with_state(gateway.clone())
        .merge(gateway.published.routes())
        .merge(gateway.health().routes())
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "there is nothing here"))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(guard))
}

/// Published JSON, which is true of now and not of later.
pub(crate) fn published(text: String) -> Response {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], text).into_response()
}

/// `GET /log`: as `GET /hsm/keys`.
async fn log(State(gateway): State<Gateway>, headers: HeaderMap) -> Response {
    gateway.published.answer(&headers)
}

/// `GET /head`: the newest event, `{"payload":…,"signature":…}`.
async fn head(State(gateway): State<Gateway>) -> Result<Response, Refusal> {
    Ok(published(gateway.log.fresh()?.head().to_json()))
}
