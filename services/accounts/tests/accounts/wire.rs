//! Part B of the specification against a running service: sections 1, 2, 6, 7 and 9.

use serde_json::{Value, json};

use crate::{
    client::{Answer, Browser, PASSWORD},
    stack::{PAGE, Settings, Stack, wait_for},
};

const JSON: (&str, &str) = ("content-type", "application/json");

fn codes(answer: &Answer) -> (u16, String) {
    (answer.status, answer.code())
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[test]
fn sign_up_and_in() {
    let stack = Stack::start();
    let accounts = stack.accounts();
    let http = &accounts.http;
    let up = |body: Value| http.post("/sign-up/email", &body);
    let answer = up(json!({"name": "Ann", "email": "Ann@Example.com", "password": PASSWORD,
        "id": "mine", "role": "admin", "emailVerified": true, "createdAt": "2020-01-01T00:00:00.000Z"}));
    assert_eq!(answer.status, 200, "{answer:?}");
    let user = answer.json()["user"].clone();
    assert_eq!(user["email"], "ann@example.com");
    assert_eq!((&user["emailVerified"], &user["image"]), (&json!(false), &Value::Null));
    let id = user["id"].as_str().expect("an id");
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    for time in ["createdAt", "updatedAt"] {
        let text = user[time].as_str().expect("a time");
        let digits = text.len() == 24 && text.ends_with('Z') && text.as_bytes()[19] == b'.';
        assert!(digits && !text.starts_with("2020"), "{text}");
    }
    let token = answer.at("/token");
    assert_eq!(answer.at("/session/token"), token);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    let line = answer.cookies()[0].to_owned();
    let (pair, attributes) = line.split_once("; ").expect("attributes");
    assert_eq!(attributes, "Max-Age=604800; Path=/; HttpOnly; SameSite=Lax");
    let value = pair.strip_prefix("better-auth.session_token=").expect("its name");
    assert!(value.starts_with(&format!("{token}.")) && value.ends_with("%3D"), "{value}");
    assert!(!stack.value("SELECT sessions::text FROM sessions").contains(&value[33..60]), "hashed");

    let known = up(json!({"name": "", "email": "ANN@example.com", "password": PASSWORD}));
    assert_eq!(codes(&known), is(422, "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL"));
    assert_eq!(known.json()["message"], "User already exists. Use another email.");
    assert_eq!(known.json()["error"], known.json()["message"]);
    let long = |length: usize| "p".repeat(length);
    let long_address = format!("{}@example.com", "b".repeat(288));
    for (change, expected) in [
        (json!({"password": long(7)}), is(400, "PASSWORD_TOO_SHORT")),
        (json!({"password": long(129)}), is(400, "PASSWORD_TOO_LONG")),
        (json!({"password": ""}), is(400, "VALIDATION_ERROR")),
        (json!({"password": 12_345_678}), is(400, "VALIDATION_ERROR")),
        (json!({"email": "nope"}), is(400, "VALIDATION_ERROR")),
        (json!({"email": " a@b.co "}), is(400, "VALIDATION_ERROR")),
        (json!({"email": "a@localhost"}), is(400, "VALIDATION_ERROR")),
        (json!({"email": "\"q\"@x.de"}), is(400, "VALIDATION_ERROR")),
        (json!({"email": "a..b@x.de"}), is(400, "VALIDATION_ERROR")),
        (json!({"image": null}), is(400, "VALIDATION_ERROR")),
        (json!({"name": null}), is(400, "VALIDATION_ERROR")),
        (json!({"callbackURL": "https://evil.example.com/"}), is(403, "INVALID_CALLBACK_URL")),
        (json!({"password": long(8), "email": "eight@example.com"}), is(200, "")),
        (json!({"password": long(128), "email": long_address}), is(200, "")),
        (json!({"name": "", "image": "https://example.com/i.png"}), is(200, "")),
    ] {
        let mut body = json!({"name": "B", "email": "b@example.com", "password": PASSWORD});
        let members = body.as_object_mut().expect("an object");
        members.extend(change.as_object().expect("an object").clone());
        assert_eq!(codes(&up(body)), expected, "{change}");
    }
    let missing = up(json!({"name": "C", "password": PASSWORD}));
    let text = "[body.email] Invalid input: expected string, received undefined";
    assert_eq!(missing.json()["message"], text);

    let sign_in = |body: Value| http.post("/sign-in/email", &body);
    let good = sign_in(json!({"email": "ann@EXAMPLE.com", "password": PASSWORD}));
    assert_eq!((good.status, good.json()["redirect"].clone()), (200, json!(false)));
    assert!(good.json().get("url").is_none());
    let sent =
        sign_in(json!({"email": "ann@example.com", "password": PASSWORD, "callbackURL": "/home"}));
    assert_eq!((sent.header("location"), sent.at("/url")), ("/home", "/home".to_owned()));
    assert_eq!(sent.json()["redirect"], true);
    let short =
        sign_in(json!({"email": "ann@example.com", "password": PASSWORD, "rememberMe": false}));
    assert_eq!(short.cookies().len(), 1);
    assert!(short.cookies()[0].ends_with("; Path=/; HttpOnly; SameSite=Lax"));
    assert!(!short.cookies()[0].contains("Max-Age"));
    let wrong = sign_in(json!({"email": "ann@example.com", "password": "wrong password"}));
    let unknown = sign_in(json!({"email": "nobody@example.com", "password": "wrong password"}));
    assert_eq!(codes(&wrong), is(401, "INVALID_EMAIL_OR_PASSWORD"));
    assert_eq!((wrong.status, &wrong.body), (unknown.status, &unknown.body));
    let bad = sign_in(json!({"email": "nope", "password": PASSWORD}));
    assert_eq!(codes(&bad), is(400, "INVALID_EMAIL"));
    let long = sign_in(json!({"email": "ann@example.com", "password": long(129)}));
    assert_eq!(codes(&long), is(400, "PASSWORD_TOO_LONG"));

    // A form of HTML.
    let form = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
    let body = "email=ann%40example.com&password=correct+horse";
    assert_eq!(http.send("POST", "/api/auth/sign-in/email", &form, Some(body)).status, 200);
    let body = format!("{body}&rememberMe=true");
    let answer = http.send("POST", "/api/auth/sign-in/email", &form, Some(&body));
    assert_eq!(codes(&answer), is(400, "VALIDATION_ERROR"));
}

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

#[test]
fn users_and_passwords() {
    let stack = Stack::start();
    let accounts = stack.accounts();
    let http = &accounts.http;
    let ann = Browser::sign_up(http, "ann@example.com");
    let account = &ann.get("/list-accounts").json()[0];
    assert_eq!((&account["providerId"], &account["scopes"]), (&json!("credential"), &json!([])));
    assert_eq!(account["accountId"], account["userId"]);

    let update = |body: Value| ann.post("/update-user", &body);
    for (body, expected) in [
        (json!({"email": "x@example.com"}), is(400, "EMAIL_CAN_NOT_BE_UPDATED")),
        (json!({"role": "admin"}), is(400, "")),
        (json!({}), is(400, "")),
        (json!({"name": null}), is(400, "VALIDATION_ERROR")),
    ] {
        assert_eq!(codes(&update(body.clone())), expected, "{body}");
    }
    let answer = update(json!({"name": "Anna", "image": "https://example.com/a.png"}));
    assert_eq!((answer.body.as_str(), answer.cookies().len()), (r#"{"status":true}"#, 1));
    update(json!({"name": 7}));
    let user = ann.get("/get-session").json()["user"].clone();
    assert_eq!((&user["name"], &user["image"]), (&json!("7"), &json!("https://example.com/a.png")));
    update(json!({"image": null}));
    assert_eq!(ann.get("/get-session").json()["user"]["image"], Value::Null);

    assert_eq!(
        ann.post("/verify-password", &json!({"password": PASSWORD})).body,
        r#"{"status":true}"#
    );
    assert_eq!(
        codes(&ann.post("/verify-password", &json!({"password": "no"}))),
        is(400, "INVALID_PASSWORD")
    );
    let change = |body: Value| ann.post("/change-password", &body);
    for (current, new, code) in [
        ("wrong one", "battery staple", "INVALID_PASSWORD"),
        (PASSWORD, "short", "PASSWORD_TOO_SHORT"),
        (PASSWORD, &"x".repeat(129), "PASSWORD_TOO_LONG"),
    ] {
        let answer = change(json!({"currentPassword": current, "newPassword": new}));
        assert_eq!(codes(&answer), is(400, code));
    }
    let sign_in = |password| Browser::sign_in(http, "ann@example.com", password);
    let other = sign_in(PASSWORD).expect("signed in");
    let kept =
        json!({"currentPassword": PASSWORD, "newPassword": PASSWORD, "revokeOtherSessions": false});
    assert_eq!(change(kept).json()["token"], Value::Null);
    assert!(other.is_signed_in() && ann.is_signed_in());
    let answer = change(json!({"currentPassword": PASSWORD, "newPassword": "battery staple"}));
    assert_eq!((answer.status, &answer.json()["token"]), (200, &Value::Null));
    assert!(ann.is_signed_in() && !other.is_signed_in(), "the others end by default");
    assert!(sign_in(PASSWORD).is_none());
    let replaced = change(
        json!({"currentPassword": "battery staple", "newPassword": PASSWORD, "revokeOtherSessions": true}),
    );
    assert!(!ann.is_signed_in());
    let ann = Browser { cookie: replaced.session_cookie(), ..ann.clone() };
    assert_eq!(ann.get("/get-session").at("/session/token"), replaced.at("/token"));

    let answer = ann.post("/delete-user", &json!({"password": "wrong password"}));
    assert_eq!(codes(&answer), is(400, "INVALID_PASSWORD"));
    let answer = ann.post("/delete-user", &json!({"token": "0123456789abcdef"}));
    assert_eq!(codes(&answer), is(404, "INVALID_TOKEN"));
    let answer = ann.post("/delete-user", &json!({"password": PASSWORD}));
    assert_eq!(answer.json(), json!({"success": true, "message": "User deleted"}));
    assert!(answer.clears() && !ann.is_signed_in());
    assert!(sign_in(PASSWORD).is_none());
    Browser::sign_up(http, "ann@example.com");

    // Without a password: at once while the session is young.
    let old = sign_in(PASSWORD).expect("signed in");
    stack.sql("UPDATE sessions SET created_at = created_at - interval '25 hours'");
    assert_eq!(codes(&old.post("/delete-user", &json!({}))), is(400, "SESSION_EXPIRED"));
    let young = sign_in(PASSWORD).expect("signed in");
    assert_eq!(young.post("/delete-user", &json!({})).status, 200);
}

#[test]
fn common_rules() {
    let stack = Stack::start();
    let accounts = stack.accounts();
    let http = &accounts.http;
    for (method, path) in [
        ("GET", "/api/auth/sign-in/email"),
        ("POST", "/api/auth/ok"),
        ("PUT", "/api/auth/sign-out"),
        ("GET", "/api/auth/ok/"),
        ("GET", "/api/auth"),
        ("GET", "/api/auth/unknown"),
        ("HEAD", "/api/auth/ok"),
    ] {
        let answer = http.send(method, path, &[], None);
        let found = (answer.status, answer.body.as_str(), answer.header("content-type"));
        assert_eq!(found, (404, "", ""), "{method} {path}");
    }
    assert_eq!(http.get("/api/auth/ok").body, r#"{"ok":true}"#);
    assert!(http.get("/api/auth/error?error=SOME_CODE").body.contains("SOME_CODE"));
    let page = http.get("/api/auth/error?error=%3Cscript%3E");
    assert!(page.body.contains("UNKNOWN") && page.header("content-type").starts_with("text/html"));

    // Each endpoint that is described is there.
    let document = http.get("/api/auth/open-api/generate-schema").json();
    assert_eq!(document["openapi"], "3.1.1");
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            let path = format!("/api/auth{}", path.replace("{token}", "x"));
            let answer = http.send(&method.to_uppercase(), &path, &[], None);
            let missing = answer.status == 404 && answer.body.is_empty();
            assert!(!missing, "{method} {path}: {answer:?}");
        }
    }

    let post = |headers: &[(&str, &str)], body: &str| {
        http.send("POST", "/api/auth/sign-in/email", headers, Some(body))
    };
    let text = post(&[("content-type", "text/plain")], "{}");
    assert_eq!(codes(&text), is(415, "UNSUPPORTED_MEDIA_TYPE"));
    assert!(
        text.at("/message")
            .starts_with("Content-Type \"text/plain\" is not allowed. Allowed types: ")
    );
    assert!(
        post(&[], "{}").at("/message").starts_with("Content-Type is required. Allowed types: ")
    );
    for body in ["", "{", "nonsense", "{\"a\":\"\\ud800\"}"] {
        let answer = post(&[JSON], body);
        assert_eq!(codes(&answer), is(400, "BAD_REQUEST"), "{body}");
        assert_eq!(answer.at("/message"), "Invalid JSON in request body");
    }
    for body in ["[]", "null", "7"] {
        assert_eq!(codes(&post(&[JSON], body)), is(400, "VALIDATION_ERROR"), "{body}");
    }

    // CORS.
    let preflight = http.send("OPTIONS", "/api/auth/sign-in/email", &[("origin", PAGE)], None);
    assert_eq!(preflight.status, 204);
    for (name, value) in [
        ("access-control-allow-origin", PAGE),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "GET,POST,PUT,DELETE,OPTIONS"),
        ("access-control-allow-headers", "Content-Type,Authorization"),
        ("vary", "Origin"),
    ] {
        assert_eq!(preflight.header(name), value);
    }
    for path in ["/api/auth/ok", "/api/auth/unknown", "/api/auth/jwks"] {
        let answer = http.send("GET", path, &[("origin", "https://evil.example.com")], None);
        assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
        assert_eq!(answer.header("vary"), "Origin", "{path}");
        let answer = http.send("GET", path, &[("origin", PAGE)], None);
        assert_eq!(answer.header("access-control-allow-origin"), PAGE, "{path}");
        assert_eq!(answer.header("access-control-allow-credentials"), "true", "{path}");
    }

    assert_eq!(http.get("/").header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(http.get("/live").status, 200);
    for path in ["/health", "/api/health"] {
        let health = http.get(path).json();
        assert_eq!((&health["status"], &health["service"]), (&json!("ok"), &json!("accounts")));
        assert_eq!(health["timestamp"].as_str().map(str::len), Some(24));
    }
}

#[test]
fn origins() {
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
