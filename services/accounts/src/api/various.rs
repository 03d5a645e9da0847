//! `/ok`, `/error` and the description of all endpoints.

use axum::{
    extract::{RawQuery, State},
    http::header::CONTENT_TYPE,
    response::{IntoResponse as _, Response},
};
use serde_json::json as value;

use super::answers::json;
use crate::{Accounts, openapi};

/// The process answers.
pub(super) async fn ok() -> Response {
    json(value!({"ok": true}))
}

/// All endpoints, described.
pub(super) async fn open_api(State(accounts): State<Accounts>) -> Response {
    json(openapi::document(accounts.origins().own()))
}

/// A page that names an error's code, for links whose page is not known.
pub(super) async fn error(RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let code = form_urlencoded::parse(query.as_bytes())
        .find_map(|(name, value)| (name == "error").then_some(value));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_'-".contains(&byte);
    let code = code.filter(|code| !code.is_empty() && code.len() <= 64 && code.bytes().all(plain));
    let code = code.as_deref().unwrap_or("UNKNOWN").replace('\'', "&#39;");
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Error</title>\
         <h1>Error</h1><p>The link could not be used: <code>{code}</code></p></html>\n"
    );
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}
