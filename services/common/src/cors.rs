//! CORS for services whose answers are public and whose requests carry no cookies.

use axum::{
    extract::Request,
    http::{
        HeaderName, HeaderValue, Method, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
            ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
        },
    },
    middleware::Next,
    response::{IntoResponse, Response},
};

const HEADERS: [(HeaderName, &str); 5] = [
    (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, OPTIONS"),
    (ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type, If-None-Match"),
    (ACCESS_CONTROL_EXPOSE_HEADERS, "ETag"),
    (ACCESS_CONTROL_MAX_AGE, "86400"),
];

/// Middleware: every answer may be read from any origin, and every OPTIONS request is answered 200.
/// For `axum::middleware::from_fn`.
pub async fn cors(request: Request, next: Next) -> Response {
    let preflight = request.method() == Method::OPTIONS;
    let mut response =
        if preflight { StatusCode::OK.into_response() } else { next.run(request).await };
    for (name, value) in HEADERS {
        if preflight || name == ACCESS_CONTROL_ALLOW_ORIGIN || name == ACCESS_CONTROL_EXPOSE_HEADERS
        {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }
    response
}
