//! Limits: by network and path, by submitted address over all replicas, in all.

use serde_json::json;

use crate::{
    client::{Answer, Browser, PASSWORD},
    stack::{PAGE, Settings, Stack},
};

const JSON: (&str, &str) = ("content-type", "application/json");

fn settings(limits: &str) -> Settings {
    Settings { limits: format!("[limits]\n{limits}\n"), ..Settings::default() }
}

#[test]
fn the_librarys_limits_are_on() {
    let stack = Stack::start();
    let accounts = stack.accounts_with(&settings("trusted_proxies = [\"127.0.0.1\"]"));
    let http = &accounts.http;
    let from = |address: &str, path: &str| {
        let headers = [JSON, ("x-forwarded-for", address)];
        http.send("POST", &format!("/api/auth{path}"), &headers, Some("{}"))
    };
    for path in [
        "/sign-in/email",
        "/sign-up/email",
        "/change-password",
        "/change-email",
        "/request-password-reset",
        "/forget-password",
        "/send-verification-email",
    ] {
        let statuses: Vec<_> = (0..4).map(|_| from("192.0.2.1", path).status).collect();
        assert!(!statuses[..3].contains(&429) && statuses[3] == 429, "{path}: {statuses:?}");
        assert_ne!(from("192.0.2.2", path).status, 429, "another network");
    }
    let refused = from("192.0.2.1, 198.51.100.1:4711", "/sign-in/email");
    assert_ne!(refused.status, 429, "the rightmost hop counts");
    let refused = from("203.0.113.9, 192.0.2.1:4711", "/sign-in/email");
    assert_eq!(refused.status, 429, "with a port too");
    assert_eq!(refused.header("retry-after"), refused.header("x-retry-after"));
    let seconds: u32 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=10).contains(&seconds), "{seconds}");
    assert_eq!(refused.json()["message"], "Too many requests. Please try again later.");
    for number in 1..=3 {
        from(&format!("2001:db8::{number}"), "/sign-in/email");
    }
    assert_eq!(from("2001:db8::9", "/sign-in/email").status, 429, "a network of 64 bits");
    assert_eq!(from("[2001:db8::a]:4711", "/sign-in/email").status, 429, "with a port too");
    assert_ne!(from("2001:db8:0:1::9", "/sign-in/email").status, 429, "another network");
    let hops = "2001:db8::9, 127.0.0.1";
    assert_eq!(from(hops, "/sign-in/email").status, 429, "the last hop that is no proxy of ours");
    let session =
        |_| http.send("GET", "/api/auth/get-session", &[("x-forwarded-for", "192.0.2.3")], None);
    // On a busy machine a window may pass between two requests: then it takes more of them.
    let statuses: Vec<_> =
        (0..1000).map(|number| session(number).status).take_while(|it| *it != 429).collect();
    assert!((100..1000).contains(&statuses.len()), "{}", statuses.len());
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(http.get("/live").status, 200);
    let alone = stack.accounts_with(&settings(""));
    let from = |address: &str| {
        let headers = [JSON, ("x-forwarded-for", address)];
        alone.http.send("POST", "/api/auth/sign-in/email", &headers, Some("{}")).status
    };
    let statuses: Vec<_> = (0..4).map(|number| from(&format!("192.0.2.{number}"))).collect();
    assert_eq!(statuses[3], 429, "nobody's word is taken");
}

#[test]
fn an_address_is_limited_on_all_replicas_whether_it_exists_or_not() {
    let stack = Stack::start();
    let limits =
        "sign_in = { max = 10000, window = \"60s\" }\nattempts = 4\nlongest_wait = \"30s\"";
    let settings = settings(limits);
    let replicas = [stack.accounts_with(&settings).ready(), stack.accounts_with(&settings)];
    Browser::sign_up(&replicas[0].http, "known@example.com");
    Browser::sign_up(&replicas[0].http, "other@example.com");
    let attempt = |number: usize, email: &str, password: &str| -> Answer {
        let body = json!({"email": email, "password": password});
        replicas[number % 2].http.post("/sign-in/email", &body)
    };
    stack.sql("DELETE FROM attempts");
    for email in ["known@example.com", "unknown@example.com"] {
        let wrong = |number| attempt(number, email, "wrong password").status;
        assert_eq!([0, 1, 2, 3].map(wrong), [401; 4], "{email}");
        // Its second may have passed meanwhile: a block that was made begins anew.
        let renew = "UPDATE attempts SET blocked_until = now() + interval '1 s' \
             WHERE blocked_until <> 'epoch'";
        for number in [4, 5] {
            stack.sql(renew);
            assert_eq!(wrong(number), 429, "{email}");
        }
        stack.sql(renew);
        let refused = attempt(0, email, PASSWORD);
        assert_eq!((refused.status, refused.header("retry-after")), (429, "1"));
    }
    assert_eq!(attempt(0, "other@example.com", PASSWORD).status, 200, "no other address");
    // The wait grows, to its longest, and no right password is locked out for longer.
    let waits: Vec<_> = (0..7)
        .map(|_| {
            stack.sql("UPDATE attempts SET blocked_until = now()");
            assert_eq!(attempt(0, "known@example.com", "wrong password").status, 401);
            attempt(0, "known@example.com", "wrong password").header("retry-after").to_owned()
        })
        .collect();
    assert_eq!(waits, ["2", "4", "8", "16", "30", "30", "30"]);
    stack.sql("UPDATE attempts SET blocked_until = now()");
    assert_eq!(attempt(1, "known@example.com", PASSWORD).status, 200);
    assert_eq!(attempt(1, "known@example.com", "wrong password").status, 401, "it begins anew");
}

#[test]
fn all_networks_together_are_limited() {
    let stack = Stack::start();
    let accounts = stack
        .accounts_with(&settings("requests_per_second = 5\ntrusted_proxies = [\"127.0.0.1\"]"));
    let statuses: Vec<_> = (0..200)
        .map(|number| {
            let from = format!("192.0.2.{number}");
            let headers = [("x-forwarded-for", from.as_str()), ("origin", PAGE)];
            accounts.http.send("GET", "/api/auth/ok", &headers, None).status
        })
        .collect();
    assert_eq!(statuses[..5], [200; 5]);
    assert!(statuses.contains(&429), "{statuses:?}");
}
