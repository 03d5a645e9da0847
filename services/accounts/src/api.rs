//! `/api/auth`: the endpoints that the library's client calls, and what every request goes through.

mod answers;
mod body;
mod caller;
mod cookies;
mod cors;
mod csrf;
mod delete_user;
mod email;
mod get_session;
mod layers;
mod page;
mod password;
mod query;
mod reset;
mod sessions;
mod sign_in;
mod sign_up;
mod token;
mod user;
mod various;
mod verify_email;

use axum::{
    Router, middleware,
    routing::{get, post},
};

pub(crate) use answers::SignedIn;
pub(crate) use body::{NAME as LONGEST_NAME, URL as LONGEST_IMAGE};
pub(crate) use caller::Caller;
pub(crate) use cookies::{COMPONENT, session_name};
pub(crate) use get_session::Current;
pub(crate) use layers::internal as through_internal;
pub(crate) use user::Account;

use crate::Accounts;

/// Where the endpoints are.
pub(crate) const BASE: &str = "/api/auth";

/// The paths that are counted each for itself.
const PATHS: &[&str] = &[
    "/sign-up/email",
    "/sign-in/email",
    "/sign-out",
    "/get-session",
    "/session",
    "/list-sessions",
    "/revoke-session",
    "/revoke-sessions",
    "/revoke-other-sessions",
    "/change-password",
    "/verify-password",
    "/update-user",
    "/delete-user",
    "/delete-user/callback",
    "/request-password-reset",
    "/forget-password",
    "/reset-password",
    "/send-verification-email",
    "/verify-email",
    "/change-email",
    "/list-accounts",
    "/token",
    "/jwks",
    "/ok",
    "/error",
    "/open-api/generate-schema",
    "/reference",
];

/// The routes below [`BASE`] with all that a request goes through.
pub(crate) fn router(accounts: &Accounts) -> Router {
    let routes = Router::new()
        .route("/sign-up/email", post(sign_up::sign_up))
        .route("/sign-in/email", post(sign_in::sign_in))
        .route("/sign-out", post(sessions::sign_out))
        .route("/get-session", get(get_session::get_session).post(get_session::deferred))
        .route("/session", get(get_session::session))
        .route("/list-sessions", get(sessions::list))
        .route("/revoke-session", post(sessions::revoke))
        .route("/revoke-sessions", post(sessions::revoke_all))
        .route("/revoke-other-sessions", post(sessions::revoke_others))
        .route("/change-password", post(password::change))
        .route("/verify-password", post(password::verify))
        .route("/update-user", post(user::update))
        .route("/delete-user", post(delete_user::delete))
        .route("/delete-user/callback", get(delete_user::callback))
        .route("/request-password-reset", post(reset::request))
        .route("/forget-password", post(reset::request))
        .route("/reset-password/{token}", get(reset::callback))
        .route("/reset-password", post(reset::reset))
        .route("/send-verification-email", post(email::send))
        .route("/verify-email", get(verify_email::verify_email))
        .route("/change-email", post(email::change))
        .route("/list-accounts", get(user::list_accounts))
        .route("/token", get(token::token).post(token::token_by_post))
        .route("/jwks", get(token::jwks))
        .route("/ok", get(various::ok))
        .route("/error", get(various::error))
        .route("/open-api/generate-schema", get(various::open_api))
        .route("/reference", get(various::reference))
        .fallback(layers::not_found)
        .method_not_allowed_fallback(layers::not_found)
        .with_state(accounts.clone());
    let state = accounts.clone();
    let page = page::router().with_state(accounts.clone());
    Router::new()
        .nest(BASE, routes)
        .merge(page)
        .layer(middleware::from_fn_with_state(state, layers::through))
}

/// Under which path a request is counted.
fn counted_path(path: &str) -> &'static str {
    // The page's forms count with the endpoints that do what they do.
    let below = match path.strip_prefix(page::PAGE) {
        Some("/sign-in") => "/sign-in/email",
        Some("/sign-up") => "/sign-up/email",
        Some("/change-password") => "/change-password",
        Some(_) => return page::PAGE,
        None => path.strip_prefix(BASE).unwrap_or_default(),
    };
    if below.starts_with("/reset-password/") {
        return "/reset-password/:token";
    }
    PATHS.iter().find(|&&known| known == below).copied().unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::openapi;

    /// Both lists name what the router serves; the tests over a running service find each of them.
    #[test]
    fn what_is_counted_is_what_is_described() {
        let described: BTreeSet<_> = openapi::paths().filter(|path| !path.contains('{')).collect();
        assert_eq!(described, PATHS.iter().copied().collect());
        assert_eq!(counted_path("/api/auth/reset-password/abc"), "/reset-password/:token");
        assert_eq!(counted_path("/api/auth/nothing"), "other");
        assert_eq!(counted_path("/elsewhere"), "other");
        assert_eq!(counted_path("/account/sign-in"), counted_path("/api/auth/sign-in/email"));
        assert_eq!(counted_path("/account/revoke"), "/account");
    }
}
