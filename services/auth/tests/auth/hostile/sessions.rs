//! Challenges and their answers.

use hsmd_protocol::{DeleteAccount, DeviceReference, UnlinkDevice, client, key_hash};

use super::refused;
use crate::{
    client::{Account, Http, chain, key, nonce, sign},
    stack::Stack,
};

pub(super) fn sessions(http: &Http, stack: &Stack) {
    let alice = Account::create(http);
    let session = chain();
    let never_given = http.post("/session/create", &alice.answer(nonce(), &session).text);
    refused("a challenge never given", &never_given, 401, "BA000");

    let unknown = client::Outgoing::request_session(key_hash(key().public_key()), nonce());
    let challenge = http.send(&unknown).authentication.nonce;
    let answer = http.post("/session/create", &alice.answer(challenge, &session).text);
    refused("a challenge for nobody", &answer, 401, "BA000");

    let answer = alice.answer(alice.challenge(http), &session);
    http.send(&answer);
    refused("replayed", &http.post("/session/create", &answer.text), 401, "BA000");

    let challenge = alice.challenge(http);
    let (_, next) = alice.rotation(1);
    let wrong = client::Outgoing::create_session(alice.device, challenge, &session, nonce(), next);
    refused("the next key", &http.post("/session/create", &wrong.text), 401, "BA101");
    let right = http.post("/session/create", &alice.answer(challenge, &session).text);
    refused("a challenge that a wrong answer used up", &right, 401, "BA000");

    let challenge = alice.challenge(http);
    let text = challenge.to_string();
    stack.sql(&format!("UPDATE challenges SET given_at = given_at - 61000 WHERE nonce = '{text}'"));
    let late = http.post("/session/create", &alice.answer(challenge, &session).text);
    refused("a challenge of a minute ago", &late, 401, "BA000");

    let bob = Account::create(http);
    let by_alice = http.post("/session/create", &alice.answer(bob.challenge(http), &session).text);
    refused("another's challenge", &by_alice, 401, "BA103");
    let (challenge, other) = (bob.challenge(http), bob.challenge(http));
    let (authentication, signer) = bob.rotation(1);
    let link = DeviceReference { device: bob.device };
    http.send(&sign(&UnlinkDevice { authentication, link }, signer));
    let revoked = http.post("/session/create", &bob.answer(challenge, &session).text);
    refused("a revoked device", &revoked, 403, "BA103");
    let revoked = http.post("/session/create", &bob.answer(other, &session).text);
    refused("a revoked device again", &revoked, 403, "BA103");

    let carol = Account::create(http);
    let challenge = carol.challenge(http);
    let (authentication, signer) = carol.rotation(1);
    http.send(&sign(&DeleteAccount { authentication }, signer));
    let deleted = http.post("/session/create", &carol.answer(challenge, &session).text);
    refused("a challenge of a deleted account", &deleted, 401, "BA102");
    let late = carol.answer(carol.challenge(http), &session);
    refused("a challenge for it", &http.post("/session/create", &late.text), 401, "BA000");

    let signed = alice.answer(nonce(), &session).text;
    let (_, signature) = signed.split_once(r#","signature":"#).expect("signed");
    let unsigned = client::Outgoing::request_session(alice.identity, nonce()).text;
    let unsigned = unsigned.strip_suffix('}').expect("an object");
    let signed = http.post("/session/request", &format!(r#"{unsigned},"signature":{signature}"#));
    refused("a signed request for a challenge", &signed, 400, "BA101");
}
