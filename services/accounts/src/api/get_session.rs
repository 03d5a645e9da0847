//! `GET /get-session` and its plain form `GET /session`.

use axum::{
    extract::{RawQuery, State},
    http::{
        HeaderName, HeaderValue,
        header::{ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, PRAGMA},
    },
    response::Response,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Caller,
    answers::{cleared, json, with_cookie},
};
use crate::{
    Accounts,
    error::{ApiError, DEFERRED_SESSION},
    sessions::{Authenticated, Session},
    users::User,
};

/// A JWT of the session's user.
const AUTH_JWT: HeaderName = HeaderName::from_static("set-auth-jwt");

/// A session and its user.
#[derive(Serialize, ToSchema)]
pub(crate) struct Current<'a> {
    session: &'a Session,
    user: &'a User,
}

/// The session and its user, or `null`. Its use extends it.
pub(super) async fn get_session(
    State(accounts): State<Accounts>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let mut response = match caller.session(&accounts).await? {
        Ok(found) => current(&accounts, found, query.as_deref()).await?,
        Err(reason) if reason.clears() => cleared(json(())),
        Err(_) => json(()),
    };
    uncached(&mut response);
    Ok(response)
}

/// As [`get_session`], but without a session it is refused.
pub(super) async fn session(
    State(accounts): State<Accounts>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let found = caller.require(&accounts).await?;
    let mut response = current(&accounts, found, query.as_deref()).await?;
    uncached(&mut response);
    Ok(response)
}

/// The library's answer to a POST.
pub(super) async fn deferred() -> ApiError {
    DEFERRED_SESSION.into()
}

async fn current(
    accounts: &Accounts,
    found: Authenticated,
    query: Option<&str>,
) -> Result<Response, ApiError> {
    let Authenticated { mut session, user, cookie } = found;
    let (now, config) = (accounts.now(), &accounts.config().sessions);
    let keep = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .any(|(name, value)| name == "disableRefresh" && value == "true");
    let extended = !keep
        && session.is_due(now, config)
        && session.extend(now, config.lifetime, accounts.database()).await?;
    let mut response = json(Current { session: &session, user: &user });
    // Without a key there is a session all the same.
    if let Ok(token) = accounts.tokens().remembered(&session.id, &user, accounts.keys(), now)
        && let Ok(token) = HeaderValue::from_str(&token)
    {
        let headers = response.headers_mut();
        headers.insert(AUTH_JWT, token);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_name(AUTH_JWT));
    }
    Ok(match extended {
        true => with_cookie(accounts, response, &session, &cookie),
        false => response,
    })
}

fn uncached(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
}
