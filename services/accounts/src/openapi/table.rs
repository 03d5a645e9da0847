//! The endpoints, one entry each.

use utoipa::openapi::{HttpMethod, Type, path::ParameterIn};

/// One method of one path.
pub(super) struct Endpoint {
    pub(super) method: HttpMethod,
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    /// Whether it needs the session's cookie.
    pub(super) session: bool,
    /// With their places.
    pub(super) parameters: &'static [(Member, ParameterIn)],
    pub(super) body: Body,
    pub(super) reply: Reply,
    pub(super) errors: &'static [(&'static str, &'static str)],
}

/// A member of a body, or a parameter.
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) kind: Type,
    pub(super) required: bool,
}

/// What is posted.
pub(super) enum Body {
    None,
    Json(&'static [Member]),
    /// Also as a form of HTML.
    Login(&'static [Member]),
}

/// What comes back when all is well; the name is a schema's.
pub(super) enum Reply {
    One(&'static str),
    OneOrNull(&'static str),
    List(&'static str),
    Html,
    Redirect,
}

const fn text(name: &'static str) -> Member {
    Member { name, kind: Type::String, required: true }
}

const fn maybe(name: &'static str) -> Member {
    Member { name, kind: Type::String, required: false }
}

const fn truth(name: &'static str) -> Member {
    Member { name, kind: Type::Boolean, required: false }
}

const CALLBACK: Member = maybe("callbackURL");

const INVALID: (&str, &str) = ("400", "The body is not of this form");
const ORIGIN: (&str, &str) = ("403", "The page that sent it is not trusted");

const fn get(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    reply: Reply,
) -> Endpoint {
    Endpoint {
        method: HttpMethod::Get,
        path,
        id,
        summary,
        session: false,
        parameters: &[],
        body: Body::None,
        reply,
        errors: &[],
    }
}

const fn post(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    body: Body,
    reply: Reply,
) -> Endpoint {
    Endpoint {
        method: HttpMethod::Post,
        body,
        errors: &[INVALID, ORIGIN],
        ..get(path, id, summary, reply)
    }
}

const fn signed_in(endpoint: Endpoint) -> Endpoint {
    Endpoint { session: true, ..endpoint }
}

const fn taking(parameters: &'static [(Member, ParameterIn)], endpoint: Endpoint) -> Endpoint {
    Endpoint { parameters, ..endpoint }
}

use Body::{Json, Login};
use Reply::{Html, List, One, OneOrNull, Redirect};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    post(
        "/sign-up/email",
        "signUpEmail",
        "Make a user and a session",
        Login(&[
            text("name"),
            text("email"),
            text("password"),
            maybe("image"),
            CALLBACK,
            truth("rememberMe"),
        ]),
        One("SignedIn"),
    ),
    post(
        "/sign-in/email",
        "signInEmail",
        "Make a session",
        Login(&[text("email"), text("password"), truth("rememberMe"), CALLBACK]),
        One("SignedIn"),
    ),
    post("/sign-out", "signOut", "End the session", Body::None, One("Success")),
    taking(
        &[
            (truth("disableRefresh"), ParameterIn::Query),
            (truth("disableCookieCache"), ParameterIn::Query),
        ],
        get(
            "/get-session",
            "getSession",
            "The session and its user, or null; set-auth-jwt carries a JWT",
            OneOrNull("Current"),
        ),
    ),
    signed_in(get("/session", "session", "The session and its user", One("Current"))),
    signed_in(get(
        "/list-sessions",
        "listSessions",
        "The user's sessions that are good now",
        List("Session"),
    )),
    signed_in(post(
        "/revoke-session",
        "revokeSession",
        "End one of the user's sessions",
        Json(&[text("token")]),
        One("Status"),
    )),
    signed_in(post(
        "/revoke-sessions",
        "revokeSessions",
        "End all of the user's sessions",
        Body::None,
        One("Status"),
    )),
    signed_in(post(
        "/revoke-other-sessions",
        "revokeOtherSessions",
        "End all of the user's sessions but this one",
        Body::None,
        One("Status"),
    )),
    signed_in(post(
        "/change-password",
        "changePassword",
        "Change the password; other sessions end unless they are to be kept",
        Json(&[text("currentPassword"), text("newPassword"), truth("revokeOtherSessions")]),
        One("SignedIn"),
    )),
    signed_in(post(
        "/verify-password",
        "verifyPassword",
        "Compare the password once more",
        Json(&[text("password")]),
        One("Status"),
    )),
    signed_in(post(
        "/update-user",
        "updateUser",
        "Change name and image",
        Json(&[maybe("name"), maybe("image")]),
        One("Status"),
    )),
    signed_in(post(
        "/delete-user",
        "deleteUser",
        "Delete the account: with the password at once, or by a link in a mail",
        Json(&[maybe("password"), maybe("token"), CALLBACK]),
        One("Success"),
    )),
    taking(
        &[(text("token"), ParameterIn::Query), (CALLBACK, ParameterIn::Query)],
        get("/delete-user/callback", "deleteUserCallback", "A mail's link", Redirect),
    ),
    post(
        "/request-password-reset",
        "requestPasswordReset",
        "Mail a link that resets the password",
        Json(&[text("email"), maybe("redirectTo")]),
        One("Status"),
    ),
    post(
        "/forget-password",
        "forgetPassword",
        "The same under its older name",
        Json(&[text("email"), maybe("redirectTo")]),
        One("Status"),
    ),
    taking(
        &[(text("token"), ParameterIn::Path), (text("callbackURL"), ParameterIn::Query)],
        get("/reset-password/{token}", "resetPasswordCallback", "A mail's link", Redirect),
    ),
    taking(
        &[(maybe("token"), ParameterIn::Query)],
        post(
            "/reset-password",
            "resetPassword",
            "Set a new password by a mail's link; all sessions end",
            Json(&[text("newPassword"), maybe("token")]),
            One("Status"),
        ),
    ),
    post(
        "/send-verification-email",
        "sendVerificationEmail",
        "Mail a link that verifies the address",
        Json(&[text("email"), CALLBACK]),
        One("Status"),
    ),
    taking(
        &[(text("token"), ParameterIn::Query), (CALLBACK, ParameterIn::Query)],
        get("/verify-email", "verifyEmail", "A mail's link", One("Verified")),
    ),
    signed_in(post(
        "/change-email",
        "changeEmail",
        "Mail a link that changes the address",
        Json(&[text("newEmail"), CALLBACK]),
        One("Status"),
    )),
    signed_in(get("/list-accounts", "listAccounts", "How the user may sign in", List("Account"))),
    signed_in(get("/token", "token", "A JWT of the user", One("Token"))),
    signed_in(post("/token", "tokenByPost", "The same, posted", Body::None, One("Token"))),
    get("/jwks", "jwks", "The keys that verify JWTs", One("Jwks")),
    get("/ok", "ok", "The service answers", One("Ok")),
    taking(
        &[(maybe("error"), ParameterIn::Query)],
        get("/error", "error", "Names an error's code", Html),
    ),
    get("/open-api/generate-schema", "openApi", "This document", One("Document")),
    get("/reference", "reference", "This document to be read", Html),
];
