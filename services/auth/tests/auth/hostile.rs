//! Every check violated once against the running service, and the face it shows to HTTP.

mod sessions;
mod tokens;

use hsmd_protocol::{
    ChangeRecoveryKey, CreateAccount, DeleteAccount, DeviceReference, LinkContainer, LinkDevice,
    Operation, PrivateKey, RecoverAccount, RecoverableAuthentication, RotateDevice, UnlinkDevice,
    client, key_hash,
};

use crate::{
    client::{Account, Answer, Http, chain, key, sign},
    stack::Stack,
};

/// A refusal with its status and code.
fn refused(name: &str, answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{name}: {}", answer.body);
    assert!(!answer.body.contains("payload"), "{name}: {}", answer.body);
}

fn post<O: Operation>(http: &Http, operation: &O, signer: &PrivateKey) -> Answer {
    http.post(O::ROUTE, &sign(operation, signer).text)
}

#[test]
fn each_check_refuses() {
    let stack = Stack::start();
    let auth = stack.auth();
    let http = &auth.http;
    accounts(http);
    devices(http);
    recovery(http);
    sessions::sessions(http, &stack);
    tokens::tokens(http, &stack);
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

    let delete = |place, signer: Option<&PrivateKey>| {
        let (authentication, revealed) = account.rotation(place);
        post(http, &DeleteAccount { authentication }, signer.unwrap_or(revealed))
    };
    refused("a deletion by another key", &delete(1, Some(&key())), 401, "BA101");
    refused("an uncommitted deletion", &delete(2, None), 401, "BA104");
    assert_eq!(delete(1, None).status, 200);
    refused("deleted again", &delete(2, None), 403, "BA103");
    let (authentication, signer) = account.rotation(2);
    let rotate = post(http, &RotateDevice { authentication }, signer);
    refused("a deleted account's device", &rotate, 403, "BA103");
    refused(
        "created after deletion",
        &http.post(CreateAccount::ROUTE, &request.text),
        409,
        "BA102",
    );
    let (keys, next) = (chain(), key_hash(key().public_key()));
    let recovery = client::recovered_device(account.identity, &keys, &account.recovery, next);
    let recover = post(http, &RecoverAccount { authentication: recovery }, &account.recovery);
    refused("recovered after deletion", &recover, 401, "BA102");
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
    let mut unknown = good.clone();
    unknown.identity = key_hash(key().public_key());
    refused("an unknown identity", &rotate(unknown, next), 401, "BA102");
    let mut unknown = good.clone();
    unknown.device = key_hash(key().public_key());
    refused("an unknown device", &rotate(unknown, next), 401, "BA103");
    let request = sign(&RotateDevice { authentication: good }, next);
    http.send(&request);
    refused("replayed", &http.post(RotateDevice::ROUTE, &request.text), 401, "BA104");

    let tablet = chain();
    let container = client::link_container(alice.identity, &tablet);
    let link = |place, link: &LinkContainer| {
        let (authentication, signer) = alice.rotation(place);
        post(http, &LinkDevice { authentication, link: link.clone() }, signer)
    };
    refused("an uncommitted link", &link(3, &container), 401, "BA104");
    let foreign = client::link_container(bob.identity, &chain());
    refused("bob's container", &link(2, &foreign), 400, "BA302");
    let mut misnamed = container.authentication().clone();
    misnamed.device = bob.device;
    let misnamed = LinkContainer::sign(misnamed, tablet.current());
    refused("a container's device", &link(2, &misnamed), 400, "BA103");
    let (authentication, _) = alice.rotation(2);
    let by_another = LinkDevice { authentication, link: container.clone() };
    refused("a link by another key", &post(http, &by_another, &key()), 401, "BA101");
    let forged = LinkContainer::sign(container.authentication().clone(), &key());
    refused("a forged container", &link(2, &forged), 401, "BA101");
    assert_eq!(link(2, &container).status, 200);
    refused("linked again", &link(3, &container), 409, "BA103");

    let unlink = |place, device| {
        let (authentication, signer) = alice.rotation(place);
        let link = DeviceReference { device };
        post(http, &UnlinkDevice { authentication, link }, signer)
    };
    refused("bob's device", &unlink(3, bob.device), 401, "BA103");
    refused("an uncommitted unlinking", &unlink(2, alice.device), 401, "BA104");
    let (authentication, _) = alice.rotation(3);
    let link = DeviceReference { device: alice.device };
    let by_another = post(http, &UnlinkDevice { authentication, link }, &key());
    refused("an unlinking by another key", &by_another, 401, "BA101");
    assert_eq!(unlink(3, alice.device).status, 200, "a refusal has not rotated");
    let (authentication, signer) = alice.rotation(3);
    refused("a revoked device", &rotate(authentication, signer), 403, "BA103");
}

fn recovery(http: &Http) {
    let alice = Account::create(http);
    let (first, second) = (key(), key());
    let change = |place, hash_of: &PrivateKey, by: Option<&PrivateKey>| {
        let (rotation, revealed) = alice.rotation(place);
        let authentication = RecoverableAuthentication {
            device: rotation.device,
            identity: rotation.identity,
            public_key: rotation.public_key,
            recovery_hash: key_hash(hash_of.public_key()),
            rotation_hash: rotation.rotation_hash,
        };
        post(http, &ChangeRecoveryKey { authentication }, by.unwrap_or(revealed))
    };
    refused("an uncommitted change", &change(2, &first, None), 401, "BA104");
    refused("a change by another key", &change(1, &first, Some(&key())), 401, "BA101");
    assert_eq!(change(1, &first, None).status, 200);

    let keys = chain();
    let next = key_hash(second.public_key());
    let recovery = |keys, recovery| client::recovered_device(alice.identity, keys, recovery, next);
    let post_recovery =
        |authentication, signer| post(http, &RecoverAccount { authentication }, signer);
    let recover = |by, signer| post_recovery(recovery(&keys, by), signer);
    let mut misnamed = recovery(&keys, &first);
    misnamed.device = alice.device;
    refused("a recovered device's name", &post_recovery(misnamed, &first), 400, "BA103");
    let mut unknown = recovery(&keys, &first);
    unknown.identity = next;
    refused("nobody's recovery", &post_recovery(unknown, &first), 401, "BA102");
    let known = recovery(&alice.keys, &first);
    refused("a device known before", &post_recovery(known, &first), 409, "BA103");
    refused("the replaced recovery key", &recover(&alice.recovery, &alice.recovery), 401, "BA104");
    refused("signed by the new device", &recover(&first, keys.current()), 401, "BA101");
    assert_eq!(recover(&first, &first).status, 200);
    refused("recovered again", &recover(&first, &first), 401, "BA104");
    let (authentication, signer) = alice.rotation(2);
    let rotate = post(http, &RotateDevice { authentication }, signer);
    refused("the lost device", &rotate, 403, "BA103");
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
        stack.try_sql(statement).expect_err(statement);
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
