//! Parts that are away, and that change.

use std::{
    fs::File, io::Read as _, net::TcpStream, os::unix::fs::OpenOptionsExt as _, process::Command,
};

use serde_json::json;

use crate::{
    client::{Browser, PASSWORD},
    stack::{PAGE, Settings, Stack, secret, wait_for},
    switch::Switch,
};

/// Of open(2) on Linux.
const O_NONBLOCK: i32 = 0o4000;

#[test]
fn without_postgres_sessions_are_neither_lost_nor_granted() {
    let stack = Stack::with_a_postgres_of_its_own();
    let accounts = stack.accounts();
    let http = &accounts.http;
    let ann = Browser::sign_up(http, "ann@example.com");
    let bearer = format!("Bearer {}", ann.token());
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
    let headers = [("x-service-auth", &*secret('s')), ("authorization", &*bearer)];
    let user = http.send("GET", "/api/internal/user", &headers, None);
    let id = user.at("/requestId");
    assert_eq!((user.status, user.header("x-request-id")), (503, id.as_str()));
    wait_for("its cause as well", || accounts.process.log().contains(&id).then_some(()));
    for word in ["sqlx", "socket", "postgres", "os error"] {
        assert!(!session.body.contains(word), "{session:?}");
        assert!(!user.body.contains(word), "{user:?}");
    }
    let answer =
        http.post("/sign-in/email", &json!({"email": "ann@example.com", "password": PASSWORD}));
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    assert_eq!(http.get("/api/auth/ok").status, 200);
    // The gauge is read without anybody asking for /ready.
    assert_eq!(accounts.metric("ready"), 0);
    stack.database.start_server();
    wait_for("the return to be seen in /metrics", || (accounts.metric("ready") == 1).then_some(()));
    assert_eq!(http.get("/ready").status, 200);
    assert!(ann.is_signed_in());
}

/// A switch before the stack's Postgres.
fn switched(stack: &Stack) -> Switch {
    let switch = Switch::before(stack.database.socket_folder(), &stack.runtime);
    let url = stack.database.owner_url();
    let (before, _) = url.split_once("?host=").expect("a URL with a folder");
    stack.secret("database.url", &format!("{before}?host={}", switch.folder().display()));
    switch
}

/// A request gives up before its transaction has begun. The server begins it nevertheless, and the connection
/// is used again: what it does then must last.
#[test]
fn a_transaction_that_begins_too_late_takes_nothing_with_it() {
    let stack = Stack::start();
    let switch = switched(&stack);
    let database = "max_connections = 1\ntimeout = \"20s\"\n";
    let http = "request_timeout = \"3s\"\n";
    let accounts = stack.accounts_with(&Settings { database, http, ..Settings::default() }).ready();
    let ann = Browser::sign_up(&accounts.http, "ann@example.com");
    switch.hold_begin();
    let bob = json!({"name": "Bob", "email": "bob@example.com", "password": PASSWORD});
    assert_eq!(accounts.http.post("/sign-up/email", &bob).status, 503);
    switch.repair();
    wait_for("the connection", || ann.is_signed_in());
    let signed_out = ann.post("/sign-out", &json!({}));
    assert_eq!(signed_out.status, 200, "{signed_out:?}");
    assert_eq!(stack.value("SELECT count(*) FROM sessions WHERE revoked_at IS NULL"), "0");
    assert_eq!(stack.value("SELECT count(*) FROM users"), "1");
}

/// Nothing closes the connections: the service must give up the silent ones by itself.
#[test]
fn a_postgres_that_falls_silent_is_noticed_and_found_again() {
    let stack = Stack::start();
    let switch = switched(&stack);
    let database = "max_connections = 2\ntimeout = \"1s\"\n";
    let http = "request_timeout = \"2s\"\n";
    let accounts = stack.accounts_with(&Settings { database, http, ..Settings::default() }).ready();
    let ann = Browser::sign_up(&accounts.http, "ann@example.com");
    switch.break_silently();
    // More than there are connections.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let session = ann.get("/get-session");
                let seen = (session.status, session.code(), session.cookies().len());
                assert_eq!(seen, (503, "SERVICE_UNAVAILABLE".to_owned(), 0), "{session:?}");
            });
        }
    });
    wait_for("the silence to be noticed", || {
        accounts.http.get("/ready").body.contains("the database at /")
    });
    assert_eq!(accounts.http.get("/ready").status, 503);
    switch.repair();
    wait_for("the return to be seen", || accounts.http.get("/ready").status == 200);
    assert!(ann.is_signed_in());
    assert_eq!(ann.get("/token").status, 200);
}

/// What takes too long ends, and its answer is like any other 503.
#[test]
fn a_request_over_its_time_is_answered_as_others_are() {
    let stack = Stack::start();
    let http = "request_timeout = \"1s\"\n";
    let database = "timeout = \"60s\"\n";
    let accounts = stack.accounts_with(&Settings { database, http, ..Settings::default() }).ready();
    let ann = Browser::sign_up(&accounts.http, "ann@example.com");
    let here = "datname = current_database()";
    // Until the answer was seen, or a while.
    let lock = format!(
        "BEGIN; SELECT 1 FROM accounts.users FOR UPDATE; \
         DO $$ BEGIN FOR i IN 1..1000 LOOP EXIT WHEN EXISTS (SELECT 1 FROM pg_stat_activity \
           WHERE {here} AND application_name = 'answered'); PERFORM pg_sleep(0.01); \
           PERFORM pg_stat_clear_snapshot(); END LOOP; END $$; COMMIT"
    );
    std::thread::scope(|scope| {
        scope.spawn(|| stack.sql(&lock));
        let held = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE {here} AND wait_event = 'PgSleep'"
        );
        wait_for("the lock", || stack.value(&held) == "1");
        let answer = ann.post("/update-user", &json!({"name": "Anna"}));
        let id = answer.at("/requestId");
        let seen = (answer.status, answer.code(), answer.header("retry-after"));
        assert_eq!(seen, (503, "SERVICE_UNAVAILABLE".to_owned(), "1"));
        assert_eq!(answer.header("x-request-id"), id);
        assert_eq!(answer.header("access-control-allow-origin"), PAGE);
        wait_for("its cause in the log", || accounts.process.log().contains(&id));
        stack.sql("SET application_name = 'answered'; SELECT pg_sleep(1)");
    });
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

/// A replica that starts finds more expired rows than it removes at once.
#[test]
fn expired_rows_go_however_many_there_are() {
    let stack = Stack::start();
    let first = stack.accounts();
    let ann = Browser::sign_up(&first.http, "ann@example.com");
    stack.sql(
        "INSERT INTO sessions SELECT (jsonb_populate_record(s, jsonb_build_object(\
         'id', s.id || n, 'token', s.token || n, 'expires_at', now() - interval '1 day'))).* \
         FROM sessions s, generate_series(1, 3500) n",
    );
    let second = stack.accounts();
    wait_for("the expired rows to go", || stack.value("SELECT count(*) FROM sessions") == "1");
    assert!(ann.at(&second.http).is_signed_in());
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

/// The outbox is a pipe: a mail waits until somebody reads.
#[test]
fn a_stop_sends_the_mails_that_wait() {
    let stack = Stack::start();
    let outbox = stack.path("outbox.jsonl");
    let made = Command::new("mkfifo").arg(&outbox).status().expect("mkfifo starts");
    assert!(made.success());
    let more = format!("[mail]\noutbox = \"{}\"\n", outbox.display());
    let mut accounts = stack.accounts_with(&Settings { more, ..Settings::default() }).ready();
    for email in ["ann@example.com", "bob@example.com", "eve@example.com"] {
        Browser::sign_up(&accounts.http, email);
        let asked = json!({"email": email});
        assert_eq!(accounts.http.post("/request-password-reset", &asked).status, 200);
    }
    wait_for("the links", || stack.value("SELECT count(*) FROM links") == "3");
    accounts.process.terminate();
    let stopped = "SELECT count(*) FROM keys WHERE stopped_at IS NOT NULL";
    wait_for("the stop", || stack.value(stopped) == "1");
    // Open for writing too, so that it never ends; without mails it is read in vain, not for ever.
    let mut options = File::options();
    options.read(true).write(true).custom_flags(O_NONBLOCK);
    let pipe = options.open(&outbox).expect("the pipe");
    stack.runtime.block_on(accounts.process.ended());
    let mut buffer = [0; 65536];
    let read = (&pipe).read(&mut buffer).expect("the mails");
    let mails = String::from_utf8_lossy(&buffer[..read]);
    assert_eq!(mails.lines().count(), 3, "{mails}");
}

/// A caller who leaves interrupts nothing, and a stop waits for what was begun.
#[test]
fn a_stop_lets_requests_finish() {
    let stack = Stack::start();
    let mut accounts = stack.accounts();
    let ann = Browser::sign_up(&accounts.http, "ann@example.com");
    // Until the stop has begun.
    let lock = "BEGIN; SELECT 1 FROM accounts.users FOR UPDATE; SELECT pg_sleep(60); COMMIT";
    let address = accounts.http.url.trim_start_matches("http://").to_owned();
    std::thread::scope(|scope| {
        scope.spawn(|| stack.try_sql(lock).expect_err("cancelled"));
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
        wait_for("it listens no more", || TcpStream::connect(&address).is_err());
        stack.value(
            "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity \
             WHERE datname = current_database() AND wait_event = 'PgSleep'",
        );
    });
    stack.runtime.block_on(accounts.process.ended());
    assert_eq!(stack.value("SELECT name FROM users"), "Anna");
}
