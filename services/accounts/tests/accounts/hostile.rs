//! What is sent to break it.

use serde_json::json;

use crate::{
    client::{Browser, PASSWORD},
    stack::{PAGE, Settings, Stack},
};

const JSON: (&str, &str) = ("content-type", "application/json");

/// What the library stores for the password `password1234`.
const LIBRARY: &str = include_str!("../../src/passwords/library.hash");

#[test]
fn bodies_and_heads_are_bounded() {
    let stack = Stack::start();
    let accounts = stack.accounts();
    let http = &accounts.http;
    let hashes = accounts.metric("argon2id_hashes_total");
    let sign_in = |body: &str| http.send("POST", "/api/auth/sign-in/email", &[JSON], Some(body));
    let password = |length: usize| {
        json!({"email": "ann@example.com", "password": "p".repeat(length)}).to_string()
    };
    let large = sign_in(&password(20_000));
    assert!(large.status == 413 && large.code() == "PAYLOAD_TOO_LARGE", "{large:?}");
    // The connection may be gone before a megabyte is written.
    assert!([413, 0].contains(&sign_in(&password(1_000_000)).status));
    assert_eq!(sign_in(&password(15_000)).code(), "PASSWORD_TOO_LONG");
    let deep = format!("{}{}", "[".repeat(8000), "]".repeat(8000));
    assert_eq!(sign_in(&deep).code(), "BAD_REQUEST");
    let deep = format!("{{\"email\":{}{}}}", "[".repeat(100), "]".repeat(100));
    assert_eq!(sign_in(&deep).code(), "VALIDATION_ERROR");
    // hyper refuses what its buffer does not hold, which has some room beyond the limit.
    let long = "x".repeat(100_000);
    let status = http.send("GET", "/api/auth/ok", &[("x-long", &long)], None).status;
    assert!([431, 0].contains(&status), "{status}");
    let many: Vec<_> = (0..1000).map(|number| format!("x-{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "1")).collect();
    let status = http.send("GET", "/api/auth/ok", &many, None).status;
    assert!([431, 0].contains(&status), "{status}");
    let zero = json!({"name": "a\u{0}", "email": "a@example.com", "password": PASSWORD});
    assert_eq!(http.post("/sign-up/email", &zero).code(), "VALIDATION_ERROR");
    let zero = json!({"email": "a\u{0}@example.com", "password": PASSWORD});
    assert_eq!(http.post("/sign-in/email", &zero).status, 400);
    let name = json!({"name": "n".repeat(257), "email": "a@example.com", "password": PASSWORD});
    assert_eq!(http.post("/sign-up/email", &name).code(), "VALIDATION_ERROR");
    assert_eq!(accounts.metric("argon2id_hashes_total"), hashes, "nothing was hashed");
    assert_eq!(http.get("/api/auth/ok").status, 200);
}

#[test]
fn cookies_in_odd_forms() {
    let stack = Stack::start();
    let accounts = stack.accounts();
    let http = &accounts.http;
    let (ann, bob) =
        (Browser::sign_up(http, "ann@example.com"), Browser::sign_up(http, "bob@example.com"));
    let user = |cookie: &str| {
        let answer = http.send("GET", "/api/auth/get-session", &[("cookie", cookie)], None);
        answer.json().pointer("/user/email").and_then(|it| it.as_str()).map(str::to_owned)
    };
    let (a, b) = (ann.cookie.as_str(), bob.cookie.as_str());
    assert_eq!(user(&format!("{a}; {b}")).as_deref(), Some("ann@example.com"), "the first counts");
    assert_eq!(user(&format!("{b}; {a}")).as_deref(), Some("bob@example.com"));
    let decoded = a.replace("%3D", "=").replace("%2B", "+").replace("%2F", "/");
    assert_eq!(user(&decoded).as_deref(), Some("ann@example.com"), "unencoded");
    let crumbs: String = (0..100).map(|number| format!("crumb-{number}={number}; ")).collect();
    assert_eq!(user(&format!("{crumbs}{a}")).as_deref(), Some("ann@example.com"), "among many");
    assert_eq!(user(&format!("better-auth.session_token=x; {a}")), None, "the first counts");
    assert_eq!(user(&format!("__Secure-{a}")), None, "the other prefix");
    let token = format!("better-auth.session_token={}", ann.parts().0);
    for bad in [&token, &a[..a.len() - 4], "better-auth.session_token=", &a.to_uppercase()] {
        assert_eq!(user(bad), None, "{bad}");
    }
    let bearer = format!("Bearer {}", ann.parts().0);
    let answer = http.send("GET", "/api/auth/get-session", &[("authorization", &bearer)], None);
    assert_eq!(answer.body, "null", "no bearer");
    let stolen =
        stack.value("SELECT token || '.' || encode(secret_hash, 'base64') FROM sessions LIMIT 1");
    assert_eq!(user(&format!("better-auth.session_token={stolen}")), None, "a row is no session");
}

/// Each path of a refused sign-in costs the same work, of both kinds while the library's hashes remain.
#[test]
fn a_refused_sign_in_costs_the_same_whoever_is_asked_for() {
    let stack = Stack::start();
    let accounts = stack.accounts();
    let http = &accounts.http;
    for name in ["argon", "scrypt", "none", "older"] {
        Browser::sign_up(http, &format!("{name}@example.com"));
    }
    let of = |name: &str| format!("(SELECT id FROM users WHERE email = '{name}@example.com')");
    let hash = LIBRARY.trim();
    stack.sql(&format!(
        "UPDATE credentials SET password_hash = '{hash}' WHERE user_id = {}",
        of("scrypt")
    ));
    stack.sql(&format!("DELETE FROM credentials WHERE user_id = {}", of("none")));
    // What other settings of [passwords] have left.
    let older = format!("$argon2id$v=19$m=128,t=1,p=1${}${}", "A".repeat(22), "A".repeat(43));
    stack.sql(&format!(
        "UPDATE credentials SET password_hash = '{older}' WHERE user_id = {}",
        of("older")
    ));
    // A replica that has looked since.
    let accounts = stack.accounts();
    let http = &accounts.http;
    let counts =
        || (accounts.metric("argon2id_hashes_total"), accounts.metric("scrypt_hashes_total"));
    let sign_in = |name: &str, password: &str| {
        let body = json!({"email": format!("{name}@example.com"), "password": password});
        let (before, answer) = (counts(), http.post("/sign-in/email", &body));
        let after = counts();
        (answer, after.0 - before.0, after.1 - before.1)
    };
    // What is met is known from then on, whether the replica has looked or not.
    for name in ["older", "argon", "scrypt", "none", "unknown"] {
        let (answer, argon2, scrypt) = sign_in(name, "wrong password");
        assert_eq!((answer.status, argon2, scrypt), (401, 2, 1), "{name}");
    }
    let (answer, argon2, scrypt) = sign_in("argon", PASSWORD);
    assert_eq!((answer.status, argon2, scrypt), (200, 1, 0));
    let (answer, argon2, scrypt) = sign_in("scrypt", "password1234");
    assert_eq!((answer.status, argon2, scrypt), (200, 1, 1), "replaced");
    let (answer, argon2, scrypt) = sign_in("scrypt", "password1234");
    assert_eq!((answer.status, argon2, scrypt), (200, 1, 0));
    let last = stack.accounts();
    let before = last.metric("scrypt_hashes_total");
    last.http.post(
        "/sign-in/email",
        &json!({"email": "unknown@example.com", "password": "wrong password"}),
    );
    assert_eq!(last.metric("scrypt_hashes_total"), before, "none remain");
}

#[test]
fn redirects_lead_to_trusted_pages_only() {
    let stack = Stack::start();
    let accounts = stack.accounts();
    let http = &accounts.http;
    Browser::sign_up(http, "ann@example.com");
    let sign_in = |url: &str| {
        let body = json!({"email": "ann@example.com", "password": PASSWORD, "callbackURL": url});
        http.post("/sign-in/email", &body)
    };
    for bad in [
        "//evil.com",
        "/\\evil.com",
        "/%2fevil.com",
        "/%5Cevil.com",
        "https://app.example.com@evil.com",
        "https://app.example.com:8443/",
        "https://evil.com/https://app.example.com",
        "javascript:alert(1)",
        "http://app.example.com/",
        "\\/evil.com",
        "/a\r\nx: y",
        "/a\u{85}b",
    ] {
        assert_eq!(sign_in(bad).code(), "INVALID_CALLBACK_URL", "{bad}");
    }
    let body = json!({"email": "ann@example.com", "password": PASSWORD});
    let by_query = http.post("/sign-in/email?callbackURL=https%3A%2F%2Fevil.com", &body);
    assert_eq!((by_query.status, by_query.code().as_str()), (403, "INVALID_CALLBACK_URL"));
    assert_eq!(sign_in("/ä").header("location"), "/%C3%A4");
    for good in ["/", "/a?b=c", "https://app.example.com/x", "http://127.0.0.1:8031/"] {
        assert_eq!(sign_in(good).header("location"), good);
    }
}

#[test]
fn what_a_service_will_not_start_with() {
    let stack = Stack::start();
    let replica = stack.accounts();
    let check = |change: &dyn Fn(&str) -> String| {
        let config = stack.config(&Settings::default());
        stack.secret("accounts.toml", &change(&config));
        let output = stack.command(&replica, &["check"]);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let good = check(&str::to_owned);
    assert_eq!(good.0, Some(0), "{good:?}");
    for (from, to, hint) in [
        ("http://127.0.0.1:8031", "http://accounts.example.com", "https"),
        (PAGE, "*", "origin"),
        ("listing_delay", "algorithm = \"RS256\"\nlisting_delay", "RS256"),
        ("listing_delay", "lifetime = \"30m\"\nlisting_delay", "endorsement"),
        ("service.secrets", "gateway.secrets", "differ"),
        ("service.secrets", "short.secrets", "32 bytes"),
        ("service.secrets", "nowhere.secrets", "nowhere.secrets"),
        ("identity = ", "# identity = ", "identity"),
    ] {
        stack.secret("short.secrets", &format!("{}\n", "s".repeat(31)));
        let (code, error) = check(&|config| {
            assert!(config.contains(from), "{from}");
            config.replace(from, to)
        });
        assert_eq!(code, Some(64), "{to}: {error}");
        assert!(error.contains(hint) && !error.contains(&"s".repeat(31)), "{to}: {error}");
    }
}
