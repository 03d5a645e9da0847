//! Entity tags and cache headers: an unchanged answer costs a few hundred bytes.

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use hsmd_chain::Digest;

/// The type of what programs read.
pub const JSON: &str = "application/json";

/// For what may change at any time: keep it, but ask again before each use. A taint must not wait in a
/// cache.
pub const REVALIDATE: &str = "no-cache";

/// For what can never change under its address.
pub const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// Answers with a body and the tag of its bytes, or 304 if the asker has it already.
#[must_use]
pub fn tagged(
    request: &HeaderMap,
    content_type: &'static str,
    cache_control: &'static str,
    body: Bytes,
) -> Response {
    tagged_as(&Digest::of(&body), request, content_type, cache_control, body)
}

/// The same with a tag that is known without reading the body.
#[must_use]
pub fn tagged_as(
    name: &Digest,
    request: &HeaderMap,
    content_type: &'static str,
    cache_control: &'static str,
    body: Bytes,
) -> Response {
    let tag = format!("\"{name}\"");
    let known = request
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|value| value.trim().trim_start_matches("W/"))
        .any(|value| value == tag || value == "*");
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Response::new(Body::from(body))
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache_control));
    if !known {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(ETAG, tag);
    }
    response
}
