//! The page at `/account`, as a browser without scripts uses it.

use crate::{
    client::{Answer, Browser, Http, PASSWORD},
    stack::{Settings, Stack, wait_for},
};

const SITE: &str = "http://127.0.0.1:8031";

fn submit(http: &Http, path: &str, cookie: &str, body: &str) -> Answer {
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("origin", SITE),
        ("cookie", cookie),
    ];
    http.send("POST", &format!("/account{path}"), &headers, Some(body))
}

fn show(http: &Http, cookie: &str) -> Answer {
    let answer = http.send("GET", "/account", &[("cookie", cookie)], None);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

#[test]
fn what_a_person_does_on_the_page() {
    let stack = Stack::start();
    let accounts = stack.accounts();
    let http = &accounts.http;
    let visitor = show(http, "");
    assert!(visitor.body.contains("action=\"/account/sign-up\""), "{visitor:?}");
    assert!(visitor.header("content-security-policy").starts_with("default-src 'none'"));
    assert!(!visitor.body.contains("<script") && !visitor.body.contains("http"), "{visitor:?}");
    assert!(http.get("/account/style.css").header("content-type").starts_with("text/css"));

    let made = submit(
        http,
        "/sign-up",
        "",
        "name=%3CAnn%3E&email=ann%40example.com&password=correct+horse",
    );
    assert_eq!((made.status, made.header("location")), (303, "/account"));
    let cookie = made.session_cookie();
    let page = show(http, &cookie);
    assert!(page.body.contains("&#60;Ann&#62;") && !page.body.contains("<Ann>"), "{page:?}");
    assert!(page.body.contains("(this one)"));

    let wrong = submit(http, "/sign-in", "", "email=ann%40example.com&password=wrong+password");
    assert_eq!(wrong.status, 401);
    assert!(wrong.body.contains("role=\"alert\">Invalid email or password<"), "{wrong:?}");
    let other = Browser::sign_in(http, "ann@example.com", PASSWORD).expect("signed in");
    let token = other.get("/get-session").at("/session/token");
    assert!(show(http, &cookie).body.contains(&token));
    let ended = submit(http, "/revoke", &cookie, &format!("token={token}"));
    assert_eq!(ended.status, 303);
    assert!(!other.is_signed_in());
    let other = Browser::sign_in(http, "ann@example.com", PASSWORD).expect("signed in");
    assert_eq!(submit(http, "/revoke-others", &cookie, "").status, 303);
    assert!(!other.is_signed_in());

    let change = |current: &str| {
        let body = format!("currentPassword={current}&newPassword=battery+staple");
        submit(http, "/change-password", &cookie, &body)
    };
    assert_eq!(change("wrong+password").status, 400);
    assert_eq!(change("correct+horse").status, 303);
    assert!(Browser::sign_in(http, "ann@example.com", "battery staple").is_some());
    let out = submit(http, "/sign-out", &cookie, "");
    assert!(out.status == 303 && out.clears(), "{out:?}");
    assert!(show(http, &cookie).body.contains("action=\"/account/sign-in\""));
}

#[test]
fn a_person_whose_address_is_to_be_verified_is_told_of_the_mail() {
    let stack = Stack::start();
    let accounts = stack.accounts_with_mail("require_email_verification = true\n");
    let http = &accounts.http;
    let visitor = show(http, "").body;
    assert!(visitor.contains("name=\"callbackURL\" value=\"/account\""), "{visitor}");
    let body = "name=Ann&email=ann%40example.com&password=correct+horse&callbackURL=%2Faccount";
    for answer in ["a new address", "a known one"].map(|_| submit(http, "/sign-up", "", body)) {
        assert!(
            answer.status == 200 && answer.body.contains("We have sent you a mail"),
            "{answer:?}"
        );
    }
    wait_for("the mail, whose link leads back", || {
        let mails = std::fs::read_to_string(stack.path("outbox.jsonl"));
        mails.is_ok_and(|mails| mails.contains("callbackURL=%2Faccount"))
    });
    // A wrong password refuses no session.
    let refused = || {
        let metrics = http.get("/metrics").body;
        let lines = metrics.lines().filter(|line| line.contains("sessions_refused"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = refused();
    submit(http, "/sign-in", "", "email=ann%40example.com&password=wrong+password");
    assert_eq!(refused(), before);
}

#[test]
fn the_same_rules_as_for_the_api() {
    let stack = Stack::start();
    let limits = "[limits]\n".to_owned();
    let accounts = stack.accounts_with(&Settings { limits, ..Settings::default() }).ready();
    let http = &accounts.http;
    let body = "email=ann%40example.com&password=correct+horse";
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("origin", "https://evil.example.com"),
    ];
    let foreign = http.send("POST", "/account/sign-in", &headers, Some(body));
    assert_eq!(foreign.status, 403);
    assert!(foreign.body.contains("Invalid origin"), "{foreign:?}");
    let statuses: Vec<_> = (0..3).map(|_| submit(http, "/sign-in", "", body).status).collect();
    assert_eq!(statuses, [401, 401, 429], "the foreign one counts too");
    assert_eq!(http.post("/sign-in/email", &serde_json::json!({})).status, 429, "one count");
}
