//! The shapes that several answers share.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::LOCATION},
    response::{IntoResponse as _, Response},
};
use percent_encoding::{CONTROLS, utf8_percent_encode};
use serde::Serialize;
use utoipa::ToSchema;

use super::cookies;
use crate::{
    Accounts,
    error::ClearSession,
    sessions::{Session, SessionCookie},
    users::User,
};

/// `{"status":true}`, with what some add to it.
#[derive(Serialize)]
pub(super) struct Status {
    status: bool,
}

impl Status {
    pub(super) const TRUE: Self = Self { status: true };
}

/// A user with the session that was made for them.
#[derive(Serialize, ToSchema)]
pub(crate) struct SignedIn<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) redirect: Option<bool>,
    /// The session's; `null` if none was made.
    #[schema(required)]
    pub(super) token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<&'a str>,
    pub(super) user: &'a User,
    /// For clients of plain REST; the library's reads `token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<&'a Session>,
}

pub(super) fn json(body: impl Serialize) -> Response {
    Json(body).into_response()
}

/// An answer that sets a session's cookie.
pub(super) fn with_cookie(
    accounts: &Accounts,
    mut response: Response,
    session: &Session,
    cookie: &SessionCookie,
) -> Response {
    let lifetime = accounts.config().sessions.lifetime.as_secs();
    cookies::set(response.headers_mut(), session, cookie, lifetime, accounts.is_secure());
    response
}

/// Sends the browser on.
pub(super) fn redirect(target: &str) -> Response {
    location(target).map_or_else(
        || StatusCode::NOT_FOUND.into_response(),
        |target| (StatusCode::FOUND, [(LOCATION, target)]).into_response(),
    )
}

/// The value of `Location`: what is not ASCII is encoded.
pub(super) fn location(target: &str) -> Option<HeaderValue> {
    let ascii = utf8_percent_encode(target, CONTROLS).to_string();
    HeaderValue::from_str(&ascii).ok()
}

/// An answer that makes the browser forget its session.
pub(super) fn cleared(mut response: Response) -> Response {
    response.extensions_mut().insert(ClearSession);
    response
}
