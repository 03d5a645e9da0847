//! `/ok`, `/error` and the description of all endpoints.

use askama::Template;
use axum::{
    extract::{RawQuery, State},
    http::header::CONTENT_TYPE,
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json as value};

use super::answers::json;
use crate::{Accounts, error::ApiError, openapi};

/// The process answers.
pub(super) async fn ok() -> Response {
    json(value!({"ok": true}))
}

/// All endpoints, described.
pub(super) async fn open_api(State(accounts): State<Accounts>) -> Response {
    json(openapi::document(accounts.origins().own()))
}

/// The same to be read: no script, and nothing from elsewhere.
pub(super) async fn reference(State(accounts): State<Accounts>) -> Result<Response, ApiError> {
    let document = openapi::document(accounts.origins().own());
    let page = Reference::of(&document).render();
    let page = page.map_err(|error| ApiError::Internal(error.into()))?;
    Ok(([(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response())
}

/// Its markup escapes what it is given.
#[derive(Template)]
#[template(path = "reference.html")]
struct Reference<'a> {
    rows: Vec<Row<'a>>,
}

struct Row<'a> {
    method: String,
    path: &'a str,
    summary: &'a str,
}

impl<'a> Reference<'a> {
    fn of(document: &'a Value) -> Self {
        let members = |of: &'a Value| of.as_object().into_iter().flatten();
        let rows = members(&document["paths"]).flat_map(|(path, methods)| {
            members(methods).map(move |(method, described)| Row {
                method: method.to_uppercase(),
                path,
                summary: described["summary"].as_str().unwrap_or_default(),
            })
        });
        Self { rows: rows.collect() }
    }
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
