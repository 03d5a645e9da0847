//! CORS: which pages of other origins may read the answers. Cookies go with their requests, so the list
//! is exact and there is no `*`. By hand, since it is to the letter what applications of the library
//! answer: tower-http writes the allowed headers in small letters and answers a preflight with 200.

use axum::http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ORIGIN, VARY,
    },
};
use axum::response::{IntoResponse as _, Response};

use crate::origin::Origins;

/// The answer to a preflight request.
pub(super) fn preflight() -> Response {
    let headers = [
        (ACCESS_CONTROL_ALLOW_METHODS, "GET,POST,PUT,DELETE,OPTIONS"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type,Authorization"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Marks an answer for the page that asked.
pub(super) fn mark(origin: Option<&HeaderValue>, origins: &Origins, headers: &mut HeaderMap) {
    headers.append(VARY, HeaderValue::from_static("Origin"));
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    if let Some(origin) = origin
        && origin.to_str().is_ok_and(|origin| origins.trusts(origin))
    {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
}

/// The page that sent a request.
pub(super) fn page(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(ORIGIN).cloned()
}
