//! What is done by links in mails.

use serde_json::{Value, json};

use crate::{
    client::{Answer, Browser, Http, PASSWORD},
    stack::{Replica, Stack, wait_for},
};

/// The mails so far, when there are `count`.
fn mails(stack: &Stack, count: usize) -> Vec<Value> {
    wait_for(&format!("{count} mails"), || {
        let text = std::fs::read_to_string(stack.path("outbox.jsonl")).unwrap_or_default();
        let mails: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert!(mails.len() <= count, "{mails:?}");
        (mails.len() == count).then_some(mails)
    })
}

/// Opens a mail's link.
fn open(http: &Http, mail: &Value, cookie: &str) -> Answer {
    let url = mail["url"].as_str().expect("a URL");
    let path = url.strip_prefix("http://127.0.0.1:8031").expect("our own");
    http.send("GET", path, &[("cookie", cookie)], None)
}

fn token(mail: &Value) -> String {
    mail["token"].as_str().expect("a token").to_owned()
}

fn reset(replica: &Replica, token: &str, password: &str) -> Answer {
    replica.http.post("/reset-password", &json!({"newPassword": password, "token": token}))
}

#[test]
fn without_mail_nothing_is_promised() {
    let stack = Stack::start();
    let accounts = stack.accounts();
    let ann = Browser::sign_up(&accounts.http, "ann@example.com");
    let asked = json!({"email": "ann@example.com"});
    for (path, body, code) in [
        ("/request-password-reset", &asked, "RESET_PASSWORD_DISABLED"),
        ("/forget-password", &asked, "RESET_PASSWORD_DISABLED"),
        ("/send-verification-email", &asked, "VERIFICATION_EMAIL_NOT_ENABLED"),
        ("/change-email", &json!({"newEmail": "new@example.com"}), "CHANGE_EMAIL_DISABLED"),
    ] {
        let answer = ann.post(path, body);
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{path}");
    }
}

#[test]
fn resetting_a_password() {
    let stack = Stack::start();
    let accounts = stack.accounts_with_mail("");
    let http = &accounts.http;
    let ann = Browser::sign_up(http, "ann@example.com");
    let ask = |path: &str, email: &str| {
        http.post(path, &json!({"email": email, "redirectTo": "/reset?x=1"}))
    };
    let known = ask("/request-password-reset", "Ann@example.com");
    let unknown = ask("/request-password-reset", "nobody@example.com");
    assert_eq!((known.status, &known.body), (200, &unknown.body));
    assert_eq!(ask("/forget-password", "ann@example.com").status, 200);
    let evil = json!({"email": "ann@example.com", "redirectTo": "https://evil.example.com"});
    assert_eq!(http.post("/request-password-reset", &evil).code(), "INVALID_REDIRECT_URL");
    let sent = mails(&stack, 2);
    for mail in &sent {
        assert_eq!(
            (&mail["kind"], &mail["to"]),
            (&json!("reset-password"), &json!("ann@example.com"))
        );
        let path = format!("/api/auth/reset-password/{}?callbackURL=%2Freset%3Fx%3D1", token(mail));
        assert_eq!(mail["url"], format!("http://127.0.0.1:8031{path}"));
        assert_eq!(token(mail).len(), 24);
        assert!(
            !stack.value("SELECT string_agg(links::text, ' ') FROM links").contains(&token(mail)),
            "hashed"
        );
    }
    let link = open(http, &sent[0], "");
    let page = format!("http://127.0.0.1:8031/reset?x=1&token={}", token(&sent[0]));
    assert_eq!((link.status, link.header("location")), (302, page.as_str()));
    let opened = |path: &str| http.get(&format!("/api/auth/reset-password/{path}"));
    let bad = opened("nosuch?callbackURL=%2Freset");
    assert_eq!(bad.header("location"), "http://127.0.0.1:8031/reset?error=INVALID_TOKEN");
    assert_eq!(opened("nosuch").status, 400);
    assert!(
        opened("nosuch?callbackURL=")
            .header("location")
            .ends_with("/api/auth/error?error=INVALID_TOKEN")
    );
    assert_eq!(opened("nosuch?callbackURL=%2F%2Fevil.com").code(), "INVALID_CALLBACK_URL");

    let good = token(&sent[0]);
    assert_eq!(reset(&accounts, &good, "short").code(), "PASSWORD_TOO_SHORT");
    assert_eq!(reset(&accounts, "nosuch", "battery staple").code(), "INVALID_TOKEN");
    let missing = http.post("/reset-password", &json!({"newPassword": "battery staple"}));
    assert_eq!((missing.status, missing.code().as_str()), (400, "INVALID_TOKEN"));
    let in_query = format!("/reset-password?token={good}");
    let answer = http.post(&in_query, &json!({"newPassword": "battery staple"}));
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"status":true}"#));
    assert!(answer.cookies().is_empty() && !ann.is_signed_in(), "all sessions end");
    assert_eq!(reset(&accounts, &good, "another one").code(), "INVALID_TOKEN");
    assert_eq!(
        reset(&accounts, &token(&sent[1]), "another one").code(),
        "INVALID_TOKEN",
        "older links end"
    );
    assert!(Browser::sign_in(http, "ann@example.com", PASSWORD).is_none());
    assert!(Browser::sign_in(http, "ann@example.com", "battery staple").is_some());

    ask("/request-password-reset", "ann@example.com");
    let late = token(&mails(&stack, 3)[2]);
    stack.sql("UPDATE links SET expires_at = now()");
    assert_eq!(reset(&accounts, &late, "another one").code(), "INVALID_TOKEN");
}

#[test]
fn verifying_an_address() {
    let stack = Stack::start();
    let users = "require_email_verification = true\nauto_sign_in_after_verification = true\n";
    let accounts = stack.accounts_with_mail(users);
    let http = &accounts.http;
    let up = |name: &str| {
        let body = json!({"name": name, "email": "ann@example.com", "password": PASSWORD, "callbackURL": "/in"});
        http.post("/sign-up/email", &body)
    };
    let first = up("Ann");
    assert_eq!((first.status, &first.json()["token"]), (200, &Value::Null));
    assert!(first.cookies().is_empty());
    let sent = mails(&stack, 1);
    let again = up("Other");
    assert_eq!(
        (again.status, again.at("/user/name")),
        (200, "Other".to_owned()),
        "the same answer"
    );
    assert_ne!(again.at("/user/id"), first.at("/user/id"));
    let sign_in = |password: &str| {
        let body = json!({"email": "ann@example.com", "password": password});
        let answer = http.post("/sign-in/email", &body);
        (answer.status, answer.code())
    };
    assert_eq!(sign_in(PASSWORD), (403, "EMAIL_NOT_VERIFIED".to_owned()));
    assert_eq!(sign_in("wrong password").0, 401);
    assert_eq!(
        http.post("/send-verification-email", &json!({"email": "nobody@example.com"})).status,
        200
    );

    let verified = open(http, &sent[0], "");
    assert_eq!((verified.status, verified.header("location")), (302, "/in"));
    let cookie = verified.session_cookie();
    let ann = Browser { http: http.clone(), cookie };
    assert_eq!(ann.get("/get-session").json()["user"]["emailVerified"], true);
    let scanned = open(http, &sent[0], "");
    assert_eq!((scanned.status, scanned.header("location")), (302, "/in"));
    assert!(scanned.cookies().is_empty(), "one session at most");
    assert_eq!(sign_in(PASSWORD).0, 200);
    let body = json!({"email": "ann@example.com"});
    assert_eq!(ann.post("/send-verification-email", &body).code(), "EMAIL_ALREADY_VERIFIED");
    let body = json!({"email": "other@example.com"});
    assert_eq!(ann.post("/send-verification-email", &body).code(), "EMAIL_MISMATCH");

    let verify = |query: &str| http.get(&format!("/api/auth/verify-email?{query}"));
    let bad = verify("token=nosuch");
    assert_eq!((bad.status, bad.code().as_str()), (401, "INVALID_TOKEN"));
    let bad = verify("token=nosuch&callbackURL=%2Fin");
    assert_eq!(bad.header("location"), "/in?error=INVALID_TOKEN");
    let good = format!("token={}", token(&sent[0]));
    assert_eq!(verify(&good).json(), json!({"status": true, "user": null}));
    stack.sql("UPDATE links SET expires_at = now()");
    assert_eq!(verify(&good).code(), "TOKEN_EXPIRED");
    mails(&stack, 1);
}

#[test]
fn changing_the_address() {
    let stack = Stack::start();
    let accounts = stack.accounts_with_mail("change_email = true\n");
    let http = &accounts.http;
    let ann = Browser::sign_up(http, "ann@example.com");
    Browser::sign_up(http, "taken@example.com");
    let change =
        |email: &str| ann.post("/change-email", &json!({"newEmail": email, "callbackURL": "/c"}));
    assert_eq!(change("ANN@example.com").json()["message"], "Email is the same");
    assert_eq!(change("nope").code(), "VALIDATION_ERROR");
    assert_eq!(change("taken@example.com").body, r#"{"status":true}"#);
    assert_eq!(change("ann2@example.com").body, r#"{"status":true}"#);
    let sent = mails(&stack, 1);
    assert_eq!(
        (&sent[0]["kind"], &sent[0]["to"]),
        (&json!("verification"), &json!("ann2@example.com"))
    );
    let changed = open(http, &sent[0], &ann.cookie);
    assert_eq!((changed.status, changed.header("location")), (302, "/c"));
    assert_eq!(open(http, &sent[0], "").status, 302, "the same again");
    assert_eq!(ann.get("/get-session").at("/user/email"), "ann2@example.com");

    // A verified user is asked at both addresses.
    stack.sql("UPDATE users SET email_verified = true");
    change("ann3@example.com");
    let sent = mails(&stack, 2);
    assert_eq!(
        (&sent[1]["kind"], &sent[1]["to"]),
        (&json!("change-email"), &json!("ann2@example.com"))
    );
    let verify = |mail: &Value| {
        let query = format!("/api/auth/verify-email?token={}", token(mail));
        http.send("GET", &query, &[("cookie", &ann.cookie)], None)
    };
    assert_eq!(verify(&sent[1]).json(), json!({"status": true}));
    assert_eq!(ann.get("/get-session").at("/user/email"), "ann2@example.com");
    let sent = mails(&stack, 3);
    assert_eq!(
        (&sent[2]["kind"], &sent[2]["to"]),
        (&json!("verification"), &json!("ann3@example.com"))
    );
    let bob = Browser::sign_up(http, "bob@example.com");
    let foreign = open(http, &sent[2], &bob.cookie);
    assert_eq!(foreign.header("location"), "/?error=INVALID_USER");
    let changed = verify(&sent[2]);
    assert_eq!(
        (changed.at("/user/email"), &changed.json()["user"]["emailVerified"]),
        ("ann3@example.com".to_owned(), &json!(true))
    );
    assert_eq!(changed.session_cookie(), ann.cookie);
    assert_eq!(verify(&sent[2]).body, changed.body);
    assert_eq!(verify(&sent[1]).status, 401, "older links end");
    mails(&stack, 3);
}

#[test]
fn deleting_by_mail() {
    let stack = Stack::start();
    let accounts = stack.accounts_with_mail("");
    let http = &accounts.http;
    let (ann, bob) =
        (Browser::sign_up(http, "ann@example.com"), Browser::sign_up(http, "bob@example.com"));
    let asked = ann.post("/delete-user", &json!({"callbackURL": "/bye"}));
    assert_eq!(asked.json(), json!({"success": true, "message": "Verification email sent"}));
    let mail = mails(&stack, 1)[0].clone();
    assert_eq!(mail["kind"], "delete-account");
    assert!(token(&mail).bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
    let without = open(http, &mail, "");
    assert_eq!((without.status, without.code().as_str()), (404, "FAILED_TO_GET_USER_INFO"));
    assert_eq!(open(http, &mail, &bob.cookie).code(), "INVALID_TOKEN");
    assert!(bob.is_signed_in());
    let gone = open(http, &mail, &ann.cookie);
    assert_eq!((gone.status, gone.header("location")), (302, "/bye"));
    assert!(gone.clears() && !ann.is_signed_in());
    assert!(Browser::sign_in(http, "ann@example.com", PASSWORD).is_none());
}

#[test]
fn three_mails_an_hour_for_a_recipient() {
    let stack = Stack::start();
    let outbox = stack.path("outbox.jsonl");
    let settings = crate::stack::Settings {
        limits: "[limits]\nmail = { max = 1000, window = \"60s\" }\n".to_owned(),
        more: format!("[mail]\noutbox = \"{}\"\n", outbox.display()),
        ..Default::default()
    };
    let replicas = [stack.accounts_with(&settings).ready(), stack.accounts_with(&settings)];
    Browser::sign_up(&replicas[0].http, "known@example.com");
    for email in ["known@example.com", "unknown@example.com"] {
        let statuses: Vec<_> = (0..4)
            .map(|number| {
                let body = json!({"email": email});
                replicas[number % 2].http.post("/request-password-reset", &body).status
            })
            .collect();
        assert_eq!(statuses, [200, 200, 200, 429], "{email}");
    }
    mails(&stack, 3);
}

/// Who knew the old password may have asked for a change of the address before.
#[test]
fn a_new_password_ends_all_links_but_those_that_verify() {
    let stack = Stack::start();
    let accounts = stack.accounts_with_mail("change_email = true\n");
    let http = &accounts.http;
    let ann = Browser::sign_up(http, "ann@example.com");
    let change = |email: &str| ann.post("/change-email", &json!({"newEmail": email})).status;
    assert_eq!(change("first@thief.example.com"), 200);
    mails(&stack, 1);
    stack.sql("UPDATE users SET email_verified = true");
    assert_eq!(change("second@thief.example.com"), 200);
    let sent = mails(&stack, 2);
    let new = json!({"currentPassword": PASSWORD, "newPassword": "battery staple"});
    assert_eq!(ann.post("/change-password", &new).status, 200);
    for mail in &sent {
        let query = format!("/api/auth/verify-email?token={}", token(mail));
        assert_eq!(http.get(&query).code(), "INVALID_TOKEN", "{mail}");
    }
    mails(&stack, 2);
    assert_eq!(ann.get("/get-session").at("/user/email"), "ann@example.com");
}
