//! Section 6 of the specification's part B against a running service: which pages may post.

use serde_json::json;

use crate::{
    client::{Answer, Browser, PASSWORD},
    stack::{PAGE, Settings, Stack},
};

const JSON: (&str, &str) = ("content-type", "application/json");

fn codes(answer: &Answer) -> (u16, String) {
    (answer.status, answer.code())
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[test]
fn where_a_request_must_be_from() {
    let stack = Stack::start();
    let accounts = stack.accounts();
    let http = &accounts.http;
    let ann = Browser::sign_up(http, "ann@example.com");
    let body = json!({"email": "ann@example.com", "password": PASSWORD}).to_string();
    let cookie = ("cookie", ann.cookie.as_str());
    let sign_in = |headers: &[(&str, &str)]| {
        let headers = [headers, &[JSON]].concat();
        codes(&http.send("POST", "/api/auth/sign-in/email", &headers, Some(&body)))
    };
    let update = |headers: &[(&str, &str)]| {
        let headers = [headers, &[JSON]].concat();
        codes(&http.send("POST", "/api/auth/update-user", &headers, Some(r#"{"name":"x"}"#)))
    };
    let evil = ("origin", "https://evil.example.com");
    assert_eq!(update(&[cookie, ("origin", PAGE)]), is(200, ""));
    assert_eq!(update(&[cookie, ("origin", "http://127.0.0.1:8031")]), is(200, ""));
    assert_eq!(update(&[cookie, ("referer", "https://app.example.com/x")]), is(200, ""));
    assert_eq!(update(&[cookie]), is(200, ""), "no browser");
    assert_eq!(update(&[cookie, evil]), is(403, "INVALID_ORIGIN"));
    assert_eq!(update(&[cookie, ("origin", "null")]), is(403, "MISSING_OR_NULL_ORIGIN"));
    assert_eq!(
        update(&[cookie, ("sec-fetch-site", "same-site")]),
        is(403, "MISSING_OR_NULL_ORIGIN")
    );
    assert_eq!(update(&[evil]), is(401, "UNAUTHORIZED"));
    assert_eq!(sign_in(&[evil]), is(403, "INVALID_ORIGIN"));
    assert_eq!(sign_in(&[]), is(200, ""));
    assert_eq!(sign_in(&[("sec-fetch-mode", "cors")]), is(200, ""), "Node's fetch");
    let navigated = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
    assert_eq!(sign_in(&navigated), is(403, "CROSS_SITE_NAVIGATION_LOGIN_BLOCKED"));
    // The form of the body comes after the origin, its validity before.
    let headers = [evil, JSON];
    let broken = http.send("POST", "/api/auth/sign-in/email", &headers, Some("{"));
    assert_eq!(broken.status, 400);
    let formless = http.send("POST", "/api/auth/sign-in/email", &headers, Some("{}"));
    assert_eq!(codes(&formless), is(403, "INVALID_ORIGIN"));

    let site = format!(
        "public_url = \"https://accounts.example.com\"\ntrusted_origins = [\"{PAGE}\"]\nrequire_origin = true\n"
    );
    let strict = stack.accounts_with(&Settings { site, ..Settings::default() }).ready();
    let answer = strict.http.send("POST", "/api/auth/sign-in/email", &[JSON], Some(&body));
    assert_eq!(codes(&answer), is(403, "MISSING_OR_NULL_ORIGIN"));
    let answer = strict
        .http
        .post("/sign-in/email", &json!({"email": "ann@example.com", "password": PASSWORD}));
    let line = answer.cookies()[0];
    assert!(line.starts_with("__Secure-better-auth.session_token="), "{line}");
    assert!(line.ends_with("; Max-Age=604800; Path=/; HttpOnly; Secure; SameSite=Lax"), "{line}");
    assert!(!ann.at(&strict.http).is_signed_in(), "the other name's cookie is not looked at");
}

/// What looks like a trusted page and is none.
#[test]
fn pages_that_look_trusted() {
    let stack = Stack::start();
    let accounts = stack.accounts();
    let http = &accounts.http;
    let ann = Browser::sign_up(http, "ann@example.com");
    let update = |name: &str, value: &str| {
        let headers = [JSON, ("cookie", ann.cookie.as_str()), (name, value)];
        codes(&http.send("POST", "/api/auth/update-user", &headers, Some(r#"{"name":"x"}"#)))
    };
    for origin in [
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.com",
        "https://evil.com/https://app.example.com",
        "https://app.example.com@evil.com",
        "https://user:password@app.example.com",
        "https://app.example.com https://evil.com",
        "https://evil.com,https://app.example.com",
        "https://sub.app.example.com",
        "https://app.example.com%2f.evil.com",
        "https://app.example.com\\.evil.com",
        "//app.example.com",
        "app.example.com",
        "http://localhost:8031",
        "file://",
        "*",
    ] {
        assert_eq!(update("origin", origin), is(403, "INVALID_ORIGIN"), "{origin}");
    }
    for referer in [
        "http://app.example.com/x",
        "https://app.example.com:8443/x",
        "https://app.example.com.evil.com/",
        "https://evil.com/https://app.example.com/",
        "https://evil.com/?https://app.example.com",
        "https://evil.com#https://app.example.com",
        "https://app.example.com@evil.com/",
        "https://user@app.example.com/",
        "//app.example.com/",
        "about:blank",
        "",
    ] {
        assert_eq!(update("referer", referer), is(403, "INVALID_ORIGIN"), "{referer}");
    }
    assert_eq!(ann.get("/get-session").at("/user/name"), "Ann", "nothing was changed");
}
