//! Parts that are away, and that change.

use serde_json::json;

use crate::{
    client::{Browser, PASSWORD},
    stack::{Settings, Stack, secret, wait_for},
};

#[test]
fn without_postgres_sessions_are_neither_lost_nor_granted() {
    let stack = Stack::with_a_postgres_of_its_own();
    let accounts = stack.accounts();
    let http = &accounts.http;
    let ann = Browser::sign_up(http, "ann@example.com");
    stack.database.stop_server();
    wait_for("the loss to be noticed", || (http.get("/ready").status == 503).then_some(()));
    let problems = http.get("/ready").body;
    assert!(problems.contains("the database at /"), "{problems}");
    let health = http.get("/health");
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("degraded")));
    let session = ann.get("/get-session");
    assert_eq!((session.status, session.code().as_str()), (503, "SERVICE_UNAVAILABLE"));
    assert!(session.cookies().is_empty(), "nothing is cleared");
    let id = session.at("/requestId");
    assert_eq!(session.header("x-request-id"), id);
    wait_for("the log has the cause", || accounts.process.log().contains(&id).then_some(()));
    for word in ["sqlx", "socket", "postgres", "os error"] {
        assert!(!session.body.contains(word), "{session:?}");
    }
    let answer =
        http.post("/sign-in/email", &json!({"email": "ann@example.com", "password": PASSWORD}));
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    assert_eq!(http.get("/api/auth/ok").status, 200);
    stack.database.start_server();
    // The gauge is read without anybody asking for /ready.
    assert_eq!(accounts.metric("ready"), 0);
    wait_for("the return to be seen in /metrics", || (accounts.metric("ready") == 1).then_some(()));
    assert_eq!(http.get("/ready").status, 200);
    assert!(ann.is_signed_in());
}

#[test]
fn without_hsmd_sessions_go_on_and_tokens_end() {
    let mut stack = Stack::start();
    let settings = Settings { staleness: "8s", ..Settings::default() };
    let accounts = stack.accounts_with(&settings).ready();
    let http = &accounts.http;
    let ann = Browser::sign_up(http, "ann@example.com");
    let kid = http.get("/api/auth/jwks").at("/keys/0/kid");
    stack.runtime.block_on(stack.hsm.kill());
    assert_eq!(ann.get("/token").status, 200, "for a while");
    wait_for("the log to be stale", || (ann.get("/token").status == 503).then_some(()));
    let jwks = http.get("/api/auth/jwks");
    assert_eq!((jwks.status, jwks.header("retry-after")), (503, "1"));
    let session = ann.get("/get-session");
    assert_eq!((session.status, session.header("set-auth-jwt")), (200, ""));
    assert!(Browser::sign_in(http, "ann@example.com", PASSWORD).is_some());
    assert_eq!(http.get("/health").json()["status"], "degraded");
    assert_eq!(http.get("/ready").status, 503);
    stack.runtime.block_on(stack.hsm.serve());
    wait_for("tokens to come back", || (ann.get("/token").status == 200).then_some(()));
    assert_eq!(http.get("/api/auth/jwks").at("/keys/0/kid"), kid, "the same key");
}

/// No secret exists whose change ends a session or a token.
#[test]
fn every_secret_file_may_change() {
    let stack = Stack::start();
    let mut first = stack.accounts();
    let ann = Browser::sign_up(&first.http, "ann@example.com");
    let token = ann.token();
    first.process.terminate();
    stack.runtime.block_on(first.process.ended());
    stack.secret("gateway.secrets", &format!("{}\n", secret('n')));
    stack.secret("service.secrets", &format!("{}\n", secret('m')));
    let url = stack.database.owner_url();
    stack.secret("database.url", &format!("{url}&application_name=other"));
    let second = stack.accounts();
    assert!(ann.at(&second.http).is_signed_in());
    let validate = |secret: &str| {
        let headers = [("x-gateway-auth", secret), ("content-type", "application/json")];
        let body = json!({"token": token}).to_string();
        second.http.send("POST", "/api/internal/validate", &headers, Some(&body)).status
    };
    assert_eq!([validate(&secret('n')), validate(&secret('g'))], [200, 403]);
    let check = stack.command(&second, &["check"]);
    let text = String::from_utf8_lossy(&check.stdout);
    assert!(text.contains("x-gateway-auth: ") && !text.contains(&secret('n')), "{text}");
}

/// A caller who leaves interrupts nothing, and a stop waits for what was begun.
#[test]
fn a_stop_lets_requests_finish() {
    let stack = Stack::start();
    let mut accounts = stack.accounts();
    let ann = Browser::sign_up(&accounts.http, "ann@example.com");
    let lock = "BEGIN; SELECT 1 FROM accounts.users FOR UPDATE; SELECT pg_sleep(1); COMMIT";
    std::thread::scope(|scope| {
        scope.spawn(|| stack.sql(lock));
        let active = |what: &str| {
            let here = "datname = current_database()";
            let count = format!("SELECT count(*) FROM pg_stat_activity WHERE {here} AND {what}");
            wait_for(what, || stack.value(&count) == "1");
        };
        active("wait_event = 'PgSleep'");
        scope.spawn(|| {
            let answer = ann.post("/update-user", &json!({"name": "Anna"}));
            assert_eq!(answer.status, 200, "{answer:?}");
        });
        active("wait_event_type = 'Lock'");
        accounts.process.terminate();
    });
    stack.runtime.block_on(accounts.process.ended());
    assert_eq!(stack.value("SELECT name FROM users"), "Anna");
}
