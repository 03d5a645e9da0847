//! CORS for services whose answers are public and whose requests carry no cookies.

use std::time::Duration;

use axum::http::{
    Method,
    header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH},
};
use tower_http::cors::{Any, CorsLayer};

/// Every answer may be read from any origin, and every OPTIONS request is answered 200.
pub fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::OPTIONS])
        .allow_headers([CONTENT_TYPE, IF_NONE_MATCH])
        .expose_headers([ETAG])
        .max_age(Duration::from_secs(24 * 60 * 60))
        // Nothing depends on the request's origin.
        .vary([])
}
