//! Every check violated once against the running service, and the face it shows to HTTP.

use hsmd_protocol::{
    AccessToken, ChangeRecoveryKey, CreateAccount, DeleteAccount, DeviceReference, LinkDevice,
    Operation, ReceivedToken, RecoverAccount, RecoverableAuthentication, RotateDevice,
    UnlinkDevice, client, key_hash,
};

use crate::{
    client::{Account, Answer, Http, chain, key, nonce, refresh, sign},
    stack::Stack,
};

/// A refusal with its status and code.
fn refused(name: &str, answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{name}: {}", answer.body);
    assert!(!answer.body.contains("payload"), "{name}: {}", answer.body);
}

fn post<O: Operation>(http: &Http, operation: &O, signer: &hsmd_protocol::PrivateKey) -> Answer {
    http.post(O::ROUTE, &sign(operation, signer).text)
}

#[test]
fn each_check_refuses() {
    let stack = Stack::start();
    let auth = stack.auth("auth");
    let http = &auth.http;
    accounts(http);
    devices(http);
    recovery(http);
    sessions(http, &stack);
    constraints(&stack);
    face(http);
}

fn accounts(http: &Http) {
    let (account, request) = Account::draft();
    let new = client::new_account(&account.keys, key_hash(account.recovery.public_key()));
    let create = |change: fn(&mut RecoverableAuthentication)| {
        let mut authentication = new.clone();
        change(&mut authentication);
        post(http, &CreateAccount { authentication }, account.keys.current())
    };
    let foreign = post(http, &CreateAccount { authentication: new.clone() }, &key());
    refused("signed by another key", &foreign, 401, "BA101");
    refused("identity", &create(|a| a.identity = a.device), 400, "BA102");
    refused("device", &create(|a| a.device = a.identity), 400, "BA103");
    http.send(&request);
    refused("created again", &http.post(CreateAccount::ROUTE, &request.text), 409, "BA102");
    let stolen = client::new_account(&account.keys, key_hash(key().public_key()));
    let stolen = post(http, &CreateAccount { authentication: stolen }, account.keys.current());
    refused("its device created again", &stolen, 409, "BA103");

    let (authentication, signer) = account.rotation(1);
    let delete = sign(&DeleteAccount { authentication }, signer);
    http.send(&delete);
    let (authentication, signer) = account.rotation(2);
    let rotate = post(http, &RotateDevice { authentication }, signer);
    refused("a deleted account's device", &rotate, 403, "BA103");
    refused(
        "created after deletion",
        &http.post(CreateAccount::ROUTE, &request.text),
        409,
        "BA102",
    );
}

fn devices(http: &Http) {
    let (alice, bob) = (Account::create(http), Account::create(http));
    let rotate = |authentication, signer: &_| post(http, &RotateDevice { authentication }, signer);
    let (good, next) = alice.rotation(1);
    refused("current key", &rotate(good.clone(), alice.keys.current()), 401, "BA101");
    let (uncommitted, third) = alice.rotation(2);
    refused("an uncommitted key", &rotate(uncommitted, third), 401, "BA104");
    let mut foreign = good.clone();
    foreign.identity = bob.identity;
    refused("bob's identity", &rotate(foreign, next), 401, "BA103");
    let request = sign(&RotateDevice { authentication: good }, next);
    http.send(&request);
    refused("replayed", &http.post(RotateDevice::ROUTE, &request.text), 401, "BA104");

    let container = client::link_container(alice.identity, &chain());
    let link = |place, link: &hsmd_protocol::LinkContainer| {
        let (authentication, signer) = alice.rotation(place);
        post(http, &LinkDevice { authentication, link: link.clone() }, signer)
    };
    refused("an uncommitted link", &link(3, &container), 401, "BA104");
    let foreign = client::link_container(bob.identity, &chain());
    refused("bob's container", &link(2, &foreign), 400, "BA302");
    let forged = hsmd_protocol::LinkContainer::sign(container.authentication().clone(), &key());
    refused("a forged container", &link(2, &forged), 401, "BA101");
    assert_eq!(link(2, &container).status, 200);
    refused("linked again", &link(3, &container), 409, "BA103");

    let unlink = |place, device| {
        let (authentication, signer) = alice.rotation(place);
        let link = DeviceReference { device };
        post(http, &UnlinkDevice { authentication, link }, signer)
    };
    refused("bob's device", &unlink(3, bob.device), 401, "BA103");
    assert_eq!(unlink(3, alice.device).status, 200, "a refusal has not rotated");
    let (_, session) = alice.rotation(3);
    assert!(session.public_key() != alice.keys.current().public_key());
    let (authentication, signer) = alice.rotation(3);
    refused("a revoked device", &rotate(authentication, signer), 403, "BA103");
}

fn recovery(http: &Http) {
    let alice = Account::create(http);
    let (first, second) = (key(), key());
    let change = |place, hash_of: &hsmd_protocol::PrivateKey| {
        let (rotation, signer) = alice.rotation(place);
        let authentication = RecoverableAuthentication {
            device: rotation.device,
            identity: rotation.identity,
            public_key: rotation.public_key,
            recovery_hash: key_hash(hash_of.public_key()),
            rotation_hash: rotation.rotation_hash,
        };
        post(http, &ChangeRecoveryKey { authentication }, signer)
    };
    refused("an uncommitted change", &change(2, &first), 401, "BA104");
    assert_eq!(change(1, &first).status, 200);

    let keys = chain();
    let recover = |recovery: &hsmd_protocol::PrivateKey, signer| {
        let next = key_hash(second.public_key());
        let authentication = client::recovered_device(alice.identity, &keys, recovery, next);
        post(http, &RecoverAccount { authentication }, signer)
    };
    refused("the replaced recovery key", &recover(&alice.recovery, &alice.recovery), 401, "BA104");
    refused("signed by the new device", &recover(&first, keys.current()), 401, "BA101");
    assert_eq!(recover(&first, &first).status, 200);
    refused("recovered again", &recover(&first, &first), 401, "BA104");
    let (authentication, signer) = alice.rotation(2);
    let rotate = post(http, &RotateDevice { authentication }, signer);
    refused("the lost device", &rotate, 403, "BA103");
}

fn sessions(http: &Http, stack: &Stack) {
    let alice = Account::create(http);
    let session = chain();
    let never_given = http.post("/session/create", &alice.answer(nonce(), &session).text);
    refused("a challenge never given", &never_given, 401, "BA000");

    let unknown = client::Outgoing::request_session(key_hash(key().public_key()), nonce());
    let challenge = http.send(&unknown).authentication.nonce;
    let answer = http.post("/session/create", &alice.answer(challenge, &session).text);
    refused("a challenge for nobody", &answer, 401, "BA000");

    let answer = alice.answer(alice.challenge(http), &session);
    let token = http.send(&answer).access.token;
    refused("replayed", &http.post("/session/create", &answer.text), 401, "BA000");

    let challenge = alice.challenge(http);
    let (_, next) = alice.rotation(1);
    let wrong = client::Outgoing::create_session(alice.device, challenge, &session, nonce(), next);
    refused("the next key", &http.post("/session/create", &wrong.text), 401, "BA101");
    let right = http.post("/session/create", &alice.answer(challenge, &session).text);
    refused("a challenge that a wrong answer used up", &right, 401, "BA000");

    let challenge = alice.challenge(http);
    let text = challenge.to_string();
    stack.postgres.sql(
        "auth",
        &format!("UPDATE challenges SET given_at = given_at - 61000 WHERE nonce = '{text}'"),
    );
    let late = http.post("/session/create", &alice.answer(challenge, &session).text);
    refused("a challenge of a minute ago", &late, 401, "BA000");

    let claims = ReceivedToken::decode(&token).expect("a token").verify().expect("signed");
    assert_eq!((claims.device, claims.identity), (alice.device, alice.identity));
    let lifetime = claims.expiry.saturating_since(claims.issued_at);
    assert_eq!(lifetime, std::time::Duration::from_secs(900));

    let forger = key();
    let forged = AccessToken { server_identity: *forger.public_key(), ..claims };
    let forged = forged.encode(&forger).expect("its key");
    let foreign = http.post("/session/refresh", &refresh(&forged, &session, 1).text);
    refused("a server that nobody endorsed", &foreign, 401, "BA000");
    let tampered = format!("{}{}", &token[..88], &forged[88..]);
    let tampered = http.post("/session/refresh", &refresh(&tampered, &session, 1).text);
    assert_eq!(tampered.status, 401, "a tampered token: {}", tampered.body);
    let uncommitted = http.post("/session/refresh", &refresh(&token, &session, 2).text);
    refused("an uncommitted access key", &uncommitted, 401, "BA104");

    let request = refresh(&token, &session, 1);
    let next = http.send(&request).access.token;
    refused("refreshed again", &http.post("/session/refresh", &request.text), 401, "BA104");
    let next = http.send(&refresh(&next, &session, 2)).access.token;

    let (authentication, signer) = alice.rotation(1);
    let link = DeviceReference { device: alice.device };
    http.send(&sign(&UnlinkDevice { authentication, link }, signer));
    let revoked = http.post("/session/refresh", &refresh(&next, &session, 3).text);
    refused("a revoked device", &revoked, 403, "BA103");
}

/// What the database refuses whatever a program does.
fn constraints(stack: &Stack) {
    for statement in [
        "DELETE FROM devices",
        "DELETE FROM accounts",
        "TRUNCATE accounts CASCADE",
        "UPDATE accounts SET deleted_at = NULL WHERE deleted_at IS NOT NULL",
        "UPDATE devices SET revoked_at = NULL WHERE revoked_at IS NOT NULL",
        "UPDATE challenges SET used_at = NULL WHERE used_at IS NOT NULL",
        "UPDATE refreshes SET used_until = 1",
        "UPDATE accounts SET recovery_hash = 'x' WHERE deleted_at IS NULL",
        "INSERT INTO refreshes SELECT hash, device, used_until FROM refreshes",
    ] {
        stack.postgres.refused("auth", statement);
    }
}

fn face(http: &Http) {
    refused("no JSON", &http.post("/account/create", "x"), 400, "BA101");
    refused("another operation's message", &http.post("/device/rotate", "{}"), 400, "BA101");
    let long = format!(r#"{{"payload":"{}"}}"#, "x".repeat(16 * 1024));
    refused("too long", &http.post("/account/create", &long), 413, "BA000");
    refused("no such route", &http.post("/account/none", "{}"), 404, "BA000");
    refused("not posted", &http.get("/account/create"), 405, "BA000");

    let preflight = http.options("/session/create");
    assert_eq!(preflight.status, 200);
    let allowed = preflight.headers.get("access-control-allow-origin");
    assert_eq!(allowed.expect("CORS"), "*");
    let account = Account::create(http);
    let answer = account.challenge(http);
    assert_eq!(answer.as_str().len(), 24);
    assert_eq!(http.get("/live").status, 200);
    let health = http.get("/health");
    assert!(health.body.contains("\"generationId\":\"E"), "{}", health.body);
}
