//! What users change, and the end of an account.

use serde_json::{Value, json};

use super::{codes, is};
use crate::{
    client::{Browser, PASSWORD},
    stack::Stack,
};

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
