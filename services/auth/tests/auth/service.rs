//! The process: how it starts, is limited and stops.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    process::Command,
    thread,
};

use hsmd_protocol::{Operation as _, RotateDevice, client::Outgoing};
use hsmd_tests::{program, wait_for};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    client::{Account, Http, nonce, server_of, sign},
    stack::{Service, Stack},
};

#[test]
fn no_identity_no_service() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("auth.toml");
    let example = include_str!("../../auth.example.toml");
    let without: Vec<_> = example.lines().filter(|line| !line.starts_with("identity")).collect();
    for (text, hint) in [(without.join("\n"), "identity"), (String::new(), "missing field")] {
        std::fs::write(&config, text).expect("written");
        let mut command = Command::new(program("hsmd-auth"));
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
    let auth = stack.auth();
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
    let auth = stack.auth_with("[limits]\nchallenges_per_minute = 3\n");
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

    let auth = stack.auth_with("[limits]\nrequests_per_second = 1\n");
    let statuses = many(&stack, &auth, &bob, "127.0.0.1", None);
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[test]
fn each_address_is_limited_for_itself() {
    let stack = Stack::start();
    let account = Account::create(&stack.auth().http);
    let limits = "[limits]\nrequests_per_second_per_address = 2\n";
    let accepted = |statuses: &[u16]| statuses.iter().filter(|&&status| status == 200).count();

    let auth = stack.auth_with(limits);
    let from = |address, forwarded| many(&stack, &auth, &account, address, forwarded);
    assert!(from("127.0.0.1", None).contains(&429));
    assert!(accepted(&from("127.0.0.2", None)) >= 2, "one does not use up another's");
    assert!(from("127.0.0.3", Some("192.0.2.1")).contains(&429));
    assert!(accepted(&from("127.0.0.4", Some("192.0.2.1"))) >= 2, "nobody's word is taken");

    let auth = stack.auth_with(&format!("{limits}trusted_proxies = [\"127.0.0.0/31\"]\n"));
    let from = |address, forwarded| many(&stack, &auth, &account, address, forwarded);
    assert!(from("127.0.0.1", Some("192.0.2.1")).contains(&429));
    assert!(accepted(&from("127.0.0.1", Some("192.0.2.1, 192.0.2.2"))) >= 2, "another client");
    assert!(from("127.0.0.2", Some("192.0.2.3")).contains(&429));
    assert!(accepted(&from("127.0.0.1", Some("192.0.2.3"))) >= 2, "not a proxy's word");
}

/// Asks for challenges over many connections from an address, in the name of another if there is one,
/// and returns the statuses as they came.
fn many(
    stack: &Stack,
    auth: &Service,
    account: &Account,
    from: &str,
    forwarded: Option<&str>,
) -> Vec<u16> {
    let request = Outgoing::request_session(account.identity, nonce());
    let forwarded = forwarded.map_or(String::new(), |it| format!("x-forwarded-for: {it}\r\n"));
    let request = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{forwarded}content-length: {}\r\n\r\n{}",
        request.route(),
        request.text.len(),
        request.text
    );
    let local = format!("{from}:0").parse().expect("an address");
    let remote = auth.http.url.trim_start_matches("http://").parse().expect("an address");
    stack.runtime.block_on(async {
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..24 {
            let request = request.clone();
            asking.spawn(async move {
                let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
                socket.bind(local).expect("a loopback address");
                let mut stream = socket.connect(remote).await.expect("it listens");
                stream.write_all(request.as_bytes()).await.expect("sent");
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.expect("answered");
                let status = answer.split(' ').nth(1).expect("a status line");
                status.parse::<u16>().expect("a status")
            });
        }
        let mut statuses = Vec::new();
        while let Some(status) = asking.join_next().await {
            statuses.push(status.expect("no panic"));
        }
        statuses
    })
}

/// Locks the account, posts a rotation of its device that has to wait for that, and calls `meanwhile` while
/// it waits.
fn with_waiting_rotation(
    stack: &Stack,
    account: &Account,
    post: impl FnOnce(&str) + Send,
    meanwhile: impl FnOnce(),
) {
    let (authentication, signer) = account.rotation(1);
    let request = sign(&RotateDevice { authentication }, signer).text;
    let blocked = format!(
        "BEGIN; SELECT 1 FROM accounts WHERE identity = '{}' FOR UPDATE; SELECT pg_sleep(600)",
        account.identity
    );
    let active = |what: &str| {
        let count = format!("SELECT count(*) FROM pg_stat_activity WHERE {what}");
        wait_for(what, || stack.value(&count) == "1");
    };
    thread::scope(|scope| {
        scope.spawn(move || stack.try_sql(&blocked).expect_err("cancelled"));
        active("wait_event = 'PgSleep'");
        scope.spawn(move || post(&request));
        active("wait_event_type = 'Lock'");
        meanwhile();
        stack.value(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
        );
    });
}

/// Tells a service to stop, and waits until it accepts nothing more.
fn stop(service: &Service) {
    service.process.terminate();
    let address = service.http.url.trim_start_matches("http://");
    wait_for("it listens no more", || TcpStream::connect(address).is_err());
}

/// The commitment that the database holds for an account's device.
fn commitment(stack: &Stack, account: &Account) -> String {
    let device = account.device;
    let query = format!("SELECT rotation_hash FROM devices WHERE device = '{device}'");
    stack.value(&query)
}

#[test]
fn sigterm_lets_accepted_requests_finish() {
    let stack = Stack::start();
    let mut auth = stack.auth();
    let account = Account::create(&auth.http);
    let http = Http::new(&auth.http.url);
    let post = move |request: &str| {
        let answer = http.post(RotateDevice::ROUTE, request);
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    with_waiting_rotation(&stack, &account, post, || stop(&auth));
    stack.ended(&mut auth);
    assert_eq!(auth.http.get("/live").status, 0, "gone");
    assert!(auth.process.log().contains("SIGTERM"));
    assert_eq!(commitment(&stack, &account), account.rotation(1).0.rotation_hash.as_str());
}

/// A caller who leaves must not part what belongs together, not even when the service stops.
#[test]
fn a_caller_who_leaves_interrupts_nothing() {
    let stack = Stack::start();
    let mut auth = stack.auth();
    let account = Account::create(&auth.http);
    let mut caller =
        TcpStream::connect(auth.http.url.trim_start_matches("http://")).expect("it listens");
    let mut sender = caller.try_clone().expect("a socket");
    let post = move |request: &str| {
        let (route, length) = (RotateDevice::ROUTE, request.len());
        let head = format!("POST {route} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
        sender.write_all(format!("{head}{request}").as_bytes()).expect("sent");
    };
    with_waiting_rotation(&stack, &account, post, || {
        caller.shutdown(Shutdown::Both).expect("connected");
        // Nothing has come and nothing will.
        assert_eq!(caller.read(&mut [0]).expect("closed"), 0);
        stop(&auth);
    });
    stack.ended(&mut auth);
    assert_eq!(commitment(&stack, &account), account.rotation(1).0.rotation_hash.as_str());
}
