//! The process: how it starts, is limited and stops.

use std::{process::Command, thread};

use rustix::process::Signal;

use crate::{
    client::{Account, Http, nonce, server_of},
    process::{sibling, wait_for},
    stack::Stack,
};

use hsmd_protocol::client::Outgoing;

#[test]
fn no_identity_no_service() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("auth.toml");
    let example = include_str!("../../auth.example.toml");
    let without: Vec<_> = example.lines().filter(|line| !line.starts_with("identity")).collect();
    for (text, hint) in [(without.join("\n"), "identity"), (String::new(), "missing field")] {
        std::fs::write(&config, text).expect("written");
        let mut command = Command::new(sibling("hsmd-auth"));
        let output = command.arg("--config").arg(&config).output().expect("it starts");
        assert_eq!(output.status.code(), Some(64));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains(hint), "{errors}");
    }
}

/// Messages that another implementation has made and signed.
#[test]
fn the_golden_messages_are_accepted() {
    let vectors = include_str!("../../../protocol/tests/vectors.json");
    let vectors: serde_json::Value = serde_json::from_str(vectors).expect("JSON");
    let message = |name: &str| vectors[name]["message"].as_str().expect("a message").to_owned();
    let stack = Stack::start();
    let auth = stack.auth("auth");
    let posted = [("/account/create", "createAccount"), ("/device/rotate", "rotateDevice")];
    for (route, name) in posted {
        let answer = auth.http.post(route, &message(name));
        assert_eq!(answer.status, 200, "{name}: {}", answer.body);
        let key = server_of(&answer.body);
        let request = vectors[name]["payload"].as_str().expect("a payload");
        let nonce = &request[r#"{"access":{"nonce":""#.len()..][..24];
        let payload = format!(
            r#"{{"payload":{{"access":{{"nonce":"{nonce}","serverIdentity":"{key}"}},"response":{{}}}},"signature":"0I"#
        );
        assert!(answer.body.starts_with(&payload), "{name}: {}", answer.body);
        assert_eq!(answer.body.len(), payload.len() + 86 + 2, "{name}: nothing follows");
    }
}

#[test]
fn requests_are_limited() {
    let stack = Stack::start();
    let auth = stack.auth_with("auth", "[limits]\nchallenges_per_minute = 3\n");
    let (alice, bob) = (Account::create(&auth.http), Account::create(&auth.http));
    let ask = |http: &Http, account: &Account| {
        let request = Outgoing::request_session(account.identity, nonce());
        http.post(request.route(), &request.text)
    };
    for _ in 0..3 {
        assert_eq!(ask(&auth.http, &alice).status, 200);
    }
    let refused = ask(&auth.http, &alice);
    assert_eq!((refused.status, refused.code().as_str()), (429, "BA000"));
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(ask(&auth.http, &bob).status, 200, "others are not affected");

    let auth = stack.auth_with("slow", "[limits]\nrequests_per_second = 1\n");
    let statuses: Vec<_> = (0..4).map(|_| ask(&auth.http, &bob).status).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[test]
fn sigterm_lets_accepted_requests_finish() {
    let stack = Stack::start();
    let mut auth = stack.auth("auth");
    // Holds the account, so that a request for it waits in the service.
    let account = Account::create(&auth.http);
    let (authentication, signer) = account.rotation(1);
    let operation = hsmd_protocol::RotateDevice { authentication };
    let request = crate::client::sign(&operation, signer);
    let blocked = format!(
        "BEGIN; SELECT 1 FROM accounts WHERE identity = '{}' FOR UPDATE; SELECT pg_sleep(1); COMMIT",
        account.identity
    );
    thread::scope(|scope| {
        let (postgres, http) = (&stack.postgres, Http::new(&auth.http.url));
        scope.spawn(move || postgres.sql("auth", &blocked));
        let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        wait_for("the lock", || (postgres.sql("auth", sleeping) == "1").then_some(()));
        let answer = scope.spawn(move || http.post("/device/rotate", &request.text));
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        wait_for("the request", || (postgres.sql("auth", waiting) == "1").then_some(()));
        auth.process.signal(Signal::TERM);
        let answer = answer.join().expect("no panic");
        assert_eq!(answer.status, 200, "{}", answer.body);
    });
    assert!(auth.process.wait().success());
    assert_eq!(auth.http.get("/live").status, 0, "gone");
    assert!(auth.process.log().contains("SIGTERM"));
}
