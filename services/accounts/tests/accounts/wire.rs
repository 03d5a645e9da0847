//! Part B of the specification against a running service, sections 1, 2, 6, 7 and 9: here the rules for all
//! requests.

mod sessions;
mod sign_up;
mod users;

use serde_json::json;

use crate::{
    client::Answer,
    stack::{PAGE, Stack},
};

const JSON: (&str, &str) = ("content-type", "application/json");

fn codes(answer: &Answer) -> (u16, String) {
    (answer.status, answer.code())
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
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
