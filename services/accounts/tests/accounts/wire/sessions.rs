//! Sessions: listed, extended, ended.

use serde_json::json;

use super::{codes, is};
use crate::{
    client::{Browser, PASSWORD},
    stack::{PAGE, Stack, wait_for},
};

#[test]
fn sessions_and_their_ends() {
    let stack = Stack::start();
    let accounts = stack.accounts();
    let http = &accounts.http;
    let ann = Browser::sign_up(http, "ann@example.com");
    let answer = ann.get("/get-session");
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
    assert_eq!(answer.header("access-control-expose-headers"), "set-auth-jwt");
    assert_eq!(answer.header("set-auth-jwt").split('.').count(), 3);
    assert!(answer.cookies().is_empty(), "not extended");
    assert_eq!(answer.at("/session/userId"), answer.at("/user/id"));
    assert_eq!(answer.at("/session/ipAddress"), "127.0.0.1");
    assert_eq!(
        codes(&ann.post("/get-session", &json!({}))),
        is(405, "METHOD_NOT_ALLOWED_DEFER_SESSION_REQUIRED")
    );
    assert_eq!(ann.get("/session").at("/user/email"), "ann@example.com");
    let nobody = http.get("/api/auth/get-session");
    assert_eq!(
        (nobody.status, nobody.body.as_str(), nobody.header("set-auth-jwt")),
        (200, "null", "")
    );
    for path in ["/session", "/list-sessions", "/list-accounts", "/token"] {
        let answer = http.get(&format!("/api/auth{path}"));
        assert_eq!(codes(&answer), is(401, "UNAUTHORIZED"), "{path}");
    }
    for path in ["/revoke-sessions", "/revoke-other-sessions", "/delete-user"] {
        assert_eq!(codes(&http.post(path, &json!({}))), is(401, "UNAUTHORIZED"), "{path}");
    }

    // Extended after a day, and not before, and not if told so.
    stack.sql("UPDATE sessions SET expires_at = expires_at - interval '25 hours'");
    assert!(ann.get("/get-session?disableRefresh=true").cookies().is_empty());
    let extended = ann.get("/get-session?disableCookieCache=true");
    assert_eq!(extended.cookies().len(), 1);
    assert!(extended.cookies()[0].contains("; Max-Age=604800; "));
    assert!(ann.get("/get-session").cookies().is_empty());

    let other = Browser::sign_in(http, "ann@example.com", PASSWORD).expect("signed in");
    let third = Browser::sign_in(http, "ann@example.com", PASSWORD).expect("signed in");
    let bob = Browser::sign_up(http, "bob@example.com");
    let list = ann.get("/list-sessions").json();
    assert_eq!(list.as_array().expect("a list").len(), 3);
    let token_of = |browser: &Browser| browser.get("/get-session").at("/session/token");
    for token in ["unknown".to_owned(), token_of(&bob)] {
        let answer = ann.post("/revoke-session", &json!({"token": token}));
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"status":true}"#));
    }
    assert!(bob.is_signed_in());
    assert!(!ann.post("/revoke-session", &json!({"token": token_of(&other)})).clears());
    let revoked = other.get("/get-session");
    assert!(revoked.body == "null" && revoked.clears(), "{revoked:?}");
    assert!(other.get("/list-sessions").clears());
    ann.post("/revoke-other-sessions", &json!({}));
    assert!(!third.is_signed_in() && ann.is_signed_in());
    let third = Browser::sign_in(http, "ann@example.com", PASSWORD).expect("signed in");
    assert!(ann.post("/revoke-sessions", &json!({})).clears());
    assert!(!third.is_signed_in() && !ann.is_signed_in() && bob.is_signed_in());

    // Signing out: with and without a body, and without a session.
    let cookie = [("cookie", bob.cookie.as_str()), ("origin", PAGE)];
    let out = http.send("POST", "/api/auth/sign-out", &cookie, None);
    assert_eq!((out.status, out.body.as_str()), (200, r#"{"success":true}"#));
    assert!(out.clears() && !bob.is_signed_in());
    assert!(http.post("/sign-out", &json!({})).clears());

    // Expired ones clear, forged ones are none.
    let eve = Browser::sign_up(http, "eve@example.com");
    let (token, secret) = eve.parts();
    for value in [format!("{token}.AAAA{secret}"), format!("{token}.{}%3D", "A".repeat(43))] {
        let answer = eve.with(&value).get("/get-session");
        assert!(answer.body == "null" && answer.cookies().is_empty(), "{value}: {answer:?}");
    }
    let unknown = eve.with(&format!("{}.{secret}", "A".repeat(32))).get("/get-session");
    assert!(unknown.body == "null" && unknown.clears(), "{unknown:?}");
    stack.sql("UPDATE sessions SET expires_at = now()");
    let answer = eve.get("/get-session");
    assert!(answer.body == "null" && answer.clears() && answer.header("set-auth-jwt").is_empty());
    for reason in ["no cookie", "forged", "unknown", "expired", "revoked"] {
        let said = format!("session refused reason=\"{reason}\"");
        // The log has a thread of its own.
        wait_for(&said, || accounts.process.log().contains(&said).then_some(()));
    }
}
