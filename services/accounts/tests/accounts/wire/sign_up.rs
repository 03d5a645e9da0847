//! Signing up and in.

use serde_json::{Value, json};

use super::{codes, is};
use crate::{client::PASSWORD, stack::Stack};

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
