//! The routes, and the endorsed keys for programs, byte for byte.

use std::collections::HashSet;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{
        HeaderMap, HeaderValue, StatusCode, Uri,
        header::{ACCEPT, VARY, X_CONTENT_TYPE_OPTIONS},
    },
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use hsmd_chain::{Digest, EndorsementPayload, KeyLog, PublicKey, SignedPayload};
use hsmd_runtime::{Metrics, cors};
use hsmd_service::caching::{JSON, REVALIDATE, tagged};
use hsmd_store::StoreError;
use serde_json::json;

use crate::{Keys, assets, jwks::jwks, page};

pub(crate) fn router(keys: Keys) -> Router {
    let health = keys.health();
    let published = keys.published.routes();
    let metrics = Metrics::new("hsmd_keys").with_health(health.clone());
    keys.certificate.register(&metrics);
    let router = Router::new()
        .route("/", get(index))
        .route("/keys", get(all_keys))
        .route("/keys/{key}", get(one_key))
        .route("/jwks", get(jwks))
        .route("/assets/{version}/{*name}", get(assets::asset))
        .with_state(keys)
        .merge(published)
        .fallback(async || error(StatusCode::NOT_FOUND, "there is nothing here"));
    metrics
        .count(router)
        .merge(health.routes())
        .merge(metrics.routes())
        .layer(middleware::map_response(no_sniffing))
        .layer(cors())
}

/// `GET /`: a page for browsers, a summary for the rest.
async fn index(State(keys): State<Keys>, uri: Uri, headers: HeaderMap) -> Response {
    let accepts_html = headers
        .get_all(ACCEPT)
        .iter()
        .any(|value| value.to_str().is_ok_and(|value| value.contains("text/html")));
    let mut response = if accepts_html {
        page::page(&keys, &page::Query::of(&uri)).await
    } else {
        let summary = json!({
            "service": "hsmd-keys",
            "description": "The HSM's key log and the keys it has endorsed. Verify both yourself.",
            "endpoints": {
                "/hsm/keys": "the key log",
                "/hsm/head": "the newest statement of the newest key that it is the newest",
                "/keys": "all endorsed response keys",
                "/keys/{key}": "the endorsement of one key",
                "/health": "whether the service is healthy",
                "/jwks": "the keys of JSON Web Tokens that are endorsed now",
                "/live": "whether the process answers",
                "/metrics": "what Prometheus reads",
                "/ready": "whether the service can answer",
            },
        });
        Json(summary).into_response()
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

/// `GET /keys`: every stored endorsement of a response key, under the key, but for those of a tainted
/// generation, which no reader believes.
async fn all_keys(State(keys): State<Keys>, headers: HeaderMap) -> Response {
    let stored = match keys.store.response_endorsements.list().await {
        Ok(stored) => stored,
        Err(failure) => return redis_failed(&failure),
    };
    let tainted = keys.log.snapshot().map(|log| tainted(&log)).unwrap_or_default();
    let mut list = String::from("{");
    for (name, value) in &stored {
        // What is damaged is left out, so that the rest can be read.
        let found = name.parse().ok().and_then(|key| endorsement(&key, value));
        let Some((generation, endorsement)) = found else {
            tracing::warn!(name, "Redis 1 holds something that is no endorsement of this key");
            continue;
        };
        if tainted.contains(&generation) {
            continue;
        }
        let comma = if list.len() > 1 { "," } else { "" };
        // A key's text needs no escapes.
        list.extend([comma, "\"", name, "\":", endorsement]);
    }
    list.push('}');
    tagged(&headers, JSON, REVALIDATE, list.into())
}

/// `GET /keys/{key}`: the stored endorsement of one response key.
async fn one_key(
    State(keys): State<Keys>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Ok(key) = name.parse::<PublicKey>() else { return key_not_found(&name) };
    match keys.store.response_endorsements.find(&key).await {
        Ok(Some(value)) if endorsement(&key, &value).is_some() => {
            tagged(&headers, JSON, REVALIDATE, Bytes::from(value))
        }
        Ok(Some(_)) => {
            tracing::warn!(%key, "Redis 1 holds something that is no endorsement of this key");
            key_not_found(&name)
        }
        Ok(None) => key_not_found(&name),
        Err(failure) => redis_failed(&failure),
    }
}

/// The stored text with the generation that it names, if it has the form of an endorsement of this key.
/// Whether it holds is for the reader to verify.
fn endorsement<'a>(key: &PublicKey, stored: &'a [u8]) -> Option<(Digest, &'a str)> {
    let signed = SignedPayload::parse(stored).ok()?;
    let payload = EndorsementPayload::parse(signed.payload()).ok()?;
    let text = std::str::from_utf8(stored).ok()?;
    (payload.public_key() == key).then_some((signed.generation_id(), text))
}

/// The generations that the log says are tainted.
fn tainted(log: &KeyLog) -> HashSet<Digest> {
    let events = log.events();
    let pairs = events.iter().zip(events.iter().skip(1));
    let replaced = pairs.filter(|(_, next)| next.event().taint_previous());
    replaced.map(|(event, _)| event.event().id()).collect()
}

fn key_not_found(name: &str) -> Response {
    let body = json!({"error": "Key not found", "identity": name});
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}

pub(crate) fn redis_failed(failure: &StoreError) -> Response {
    tracing::warn!(error = failure as &dyn std::error::Error, "cannot read endorsed keys");
    error(StatusCode::SERVICE_UNAVAILABLE, "the endorsed keys can't be read now")
}

pub(crate) fn error(status: StatusCode, sentence: &str) -> Response {
    (status, Json(json!({"error": sentence}))).into_response()
}

async fn no_sniffing(mut response: Response) -> Response {
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
