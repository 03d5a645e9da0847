//! Neighbours that fail and come back: what a user sees, and what never happens.

use hsmd_chain::cesr::PublicKey;
use hsmd_protocol::{DeviceReference, UnlinkDevice, client::Outgoing};
use hsmd_store::DeviceStatus;
use hsmd_tests::wait_for;
use serde_json::Value;

use crate::{
    client::{Account, Answer, Http, nonce, refresh, server_of, sign},
    stack::{Service, Stack},
};

/// Asks for a challenge: the simplest thing that needs everything.
fn ask(http: &Http, account: &Account) -> Answer {
    let request = Outgoing::request_session(account.identity, nonce());
    http.post(request.route(), &request.text)
}

fn refuses(service: &Service, account: &Account) {
    wait_for("a refusal", || (ask(&service.http, account).status == 503).then_some(()));
    let answer = ask(&service.http, account);
    assert_eq!((answer.status, answer.code().as_str()), (503, "BA000"), "{}", answer.body);
    assert_eq!(service.http.get("/live").status, 200);
}

fn answers(service: &Service, account: &Account) {
    wait_for("an answer", || (ask(&service.http, account).status == 200).then_some(()));
    wait_for("readiness", || (service.http.get("/ready").status == 200).then_some(()));
}

fn unlink(http: &Http, account: &Account) {
    let (authentication, signer) = account.rotation(1);
    let link = DeviceReference { device: account.device };
    http.send(&sign(&UnlinkDevice { authentication, link }, signer));
}

fn status(stack: &Stack, account: &Account) -> DeviceStatus {
    let devices = stack.store().revoked_devices;
    // Without an answer nothing is known.
    stack.runtime.block_on(devices.status(&account.device)).unwrap_or(DeviceStatus::Unknown)
}

fn published(stack: &Stack, key: &PublicKey) -> Option<String> {
    let found = stack.runtime.block_on(stack.store().response_endorsements.find(key));
    found.ok().flatten().map(|bytes| String::from_utf8(bytes).expect("text"))
}

#[test]
fn redis_flushed_stopped_and_restarted() {
    let mut stack = Stack::start();
    let auth = stack.auth();
    let (alice, bob) = (Account::create(&auth.http), Account::create(&auth.http));
    assert_eq!(status(&stack, &alice), DeviceStatus::Active);
    unlink(&auth.http, &alice);
    assert_eq!(status(&stack, &alice), DeviceStatus::Revoked, "at once");
    let (session, token) = bob.session(&auth.http);
    let used = refresh(&token, &session, 1);
    auth.http.send(&used);
    let key = server_of(&ask(&auth.http, &bob).body);
    assert!(published(&stack, &key).is_some());

    // From the flush on nobody is told that the revoked device is active.
    stack.flush_redis();
    wait_for("the revocation's copy", || match status(&stack, &alice) {
        DeviceStatus::Revoked => Some(()),
        DeviceStatus::Unknown => None,
        DeviceStatus::Active => panic!("a revoked device became active"),
    });
    wait_for("the endorsement", || published(&stack, &key));
    assert_eq!(auth.http.post("/session/refresh", &used.text).status, 401, "used all the same");
    answers(&auth, &bob);

    // A device is not revoked unless the applications can be told.
    stack.kill_redis();
    let (authentication, signer) = bob.rotation(1);
    let link = DeviceReference { device: bob.device };
    let request = sign(&UnlinkDevice { authentication, link }, signer);
    assert_eq!(auth.http.post(request.route(), &request.text).status, 503);
    let revoked = format!("SELECT count(revoked_at) FROM devices WHERE device = '{}'", bob.device);
    assert_eq!(stack.value(&revoked), "0");
    refuses(&auth, &bob);
    stack.restart_redis();
    wait_for("the revocation's copy", || match status(&stack, &alice) {
        DeviceStatus::Revoked => Some(()),
        DeviceStatus::Unknown => None,
        DeviceStatus::Active => panic!("a revoked device became active"),
    });
    answers(&auth, &bob);
    unlink(&auth.http, &bob);
    assert_eq!(status(&stack, &bob), DeviceStatus::Revoked);
}

#[test]
fn postgres_restarted() {
    let stack = Stack::with_a_postgres_of_its_own();
    let auth = stack.auth();
    let alice = Account::create(&auth.http);
    let (session, token) = alice.session(&auth.http);
    let used = refresh(&token, &session, 1);
    auth.http.send(&used);
    stack.accounts.stop_server();
    refuses(&auth, &alice);
    wait_for("health to notice", || (auth.http.get("/ready").status == 503).then_some(()));
    stack.accounts.start_server();
    answers(&auth, &alice);
    assert_eq!(auth.http.post("/session/refresh", &used.text).status, 401);

    // What no check looks at any more is removed.
    let count = "SELECT count(*) FROM challenges";
    let aged = "UPDATE challenges SET given_at = given_at - 3600000 WHERE used_at IS NULL";
    stack.sql(aged);
    assert_ne!(stack.value(count), "1");
    let _purging = stack.auth();
    wait_for("the purge", || (stack.value(count) == "1").then_some(()));
}

#[test]
fn hsmd_tainted_stopped_and_restarted() {
    let mut stack = Stack::start();
    let auth = stack.auth();
    let alice = Account::create(&auth.http);
    let key = server_of(&ask(&auth.http, &alice).body);
    let (session, token) = alice.session(&auth.http);
    let before = generation(&published(&stack, &key).expect("published"));

    stack.taint();
    let after = wait_for("another generation", || {
        published(&stack, &key).map(|text| generation(&text)).filter(|now| *now != before)
    });
    answers(&auth, &alice);
    let health: Value = serde_json::from_str(&auth.http.get("/health").body).expect("JSON");
    assert_eq!(health["generationId"], after);
    assert_eq!(server_of(&ask(&auth.http, &alice).body), key, "no restart, no other key");
    // The access key is endorsed again as well, so the session outlives the taint.
    auth.http.send(&refresh(&token, &session, 1));

    // An endorsement holds without the daemon; a replica that has none answers nothing.
    stack.stop_hsmd();
    assert_eq!(ask(&auth.http, &alice).status, 200);
    let late = stack.unready_auth("");
    refuses(&late, &alice);
    assert_eq!(late.http.get("/ready").status, 503);
    stack.start_hsmd();
    answers(&late, &alice);
}

/// The generation that signed an endorsement.
fn generation(endorsement: &str) -> String {
    let endorsement: Value = serde_json::from_str(endorsement).expect("JSON");
    endorsement["body"]["hsm"]["generationId"].as_str().expect("a text").to_owned()
}

#[test]
fn readiness_knows_that_redis_refuses_writes_and_that_tables_are_missing() {
    let stack = Stack::start();
    let auth = stack.auth();
    let account = Account::create(&auth.http);
    let says = |words: &str| {
        wait_for(words, || {
            let ready = auth.http.get("/ready");
            (ready.status == 503 && ready.body.contains(words)).then_some(())
        });
    };
    stack.set_redis("min-replicas-to-write", "1");
    says("Redis lacks copies");
    stack.set_redis("min-replicas-to-write", "0");
    answers(&auth, &account);
    stack.sql("ALTER TABLE challenges RENAME TO elsewhere");
    says("lacks its tables");
    stack.sql("ALTER TABLE elsewhere RENAME TO challenges");
    answers(&auth, &account);
}

#[test]
fn check_tries_the_database_too() {
    let stack = Stack::start();
    let said = stack.check().good();
    assert!(said.contains("the first start makes the tables"), "{said}");
    drop(stack.auth());
    let said = stack.check().good();
    assert!(said.contains("its tables are there"), "{said}");
    assert_eq!(said.matches("ok   endorsement").count(), 2, "{said}");
    stack.sql("DROP TABLE refreshes");
    stack.check().refused("BAD  database");
}
