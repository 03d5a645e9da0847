//! Every golden vector: the ones to accept, the ones to refuse, and the bytes to make.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::time::Duration;

use hsmd_chain::testing::{SoftwareKey, at};
use hsmd_chain::{
    Anchor, Body, BodyTail, Digest, EndorsementPayload, Event, KeyLog, Nonce, Payload, PublicKey,
    SignedBody, SignedEvent, Timestamp,
};
use hsmd_chain::{body::BodyError, endorsement::EndorsementError};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

const SKEW: Duration = Duration::from_secs(5);
const WINDOW: Duration = Duration::from_secs(12 * 3600);

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_else(|| panic!("no text {member} in {value}"))
}

fn list<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value[member].as_array().unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

fn private_key(hex_text: &str) -> SoftwareKey {
    SoftwareKey::from_bytes(&hex(hex_text).try_into().unwrap())
}

fn now() -> Timestamp {
    at("2025-11-04T12:00:00.000Z")
}

fn log(vectors: &Value) -> KeyLog {
    let anchor: Anchor = text(vectors, "hsmIdentity").parse().unwrap();
    KeyLog::verify_json(text(vectors, "hsmKeysReply").as_bytes(), &anchor, now(), SKEW).unwrap()
}

#[test]
fn cesr_texts() {
    let vectors = vectors();
    let cesr = &vectors["cesr"];
    assert_eq!(Digest::of(b"").as_str(), text(cesr, "digestOfEmpty"));
    assert_eq!(Digest::of(b"abc").as_str(), text(cesr, "digestOfAbc"));
    assert_eq!(Nonce::from_bytes([0; 16]).as_str(), text(cesr, "nonceOfZeros"));
    assert_eq!(Nonce::from_bytes([0xff; 16]).as_str(), text(cesr, "nonceOfFF"));
}

#[test]
fn events_are_made_byte_for_byte() {
    let vectors = vectors();
    let mut head: Option<Event> = None;
    for vector in list(&vectors, "events") {
        let key = private_key(text(vector, "privateKeyHex"));
        let sec1 = hex(text(vector, "publicKeyCompressedHex"));
        let public_key = PublicKey::from_sec1(&sec1).unwrap();
        assert_eq!(public_key, *key.public_key());
        assert_eq!(public_key.as_str(), text(vector, "publicKey"));
        let rotation_hash: Digest = text(vector, "rotationHash").parse().unwrap();
        let created_at = at(text(vector, "createdAt"));
        let event = match &head {
            None => Event::inception(public_key, rotation_hash, created_at),
            Some(head) => {
                let taint = vector["taintPrevious"].as_bool().unwrap();
                Event::successor(head, public_key, rotation_hash, created_at, taint).unwrap()
            }
        };
        assert_eq!(Digest::of(text(vector, "hashInput").as_bytes()), event.id());
        assert_eq!(event.id().as_str(), text(vector, "id"));
        assert_eq!(event.prefix().as_str(), text(vector, "prefix"));
        assert_eq!(
            event.previous().map(|id| id.to_string()).as_deref(),
            vector["previous"].as_str()
        );
        assert_eq!(event.text(), text(vector, "payload"));
        assert_eq!(event.signing_input().as_bytes()[..], hex(text(vector, "payloadSha256Hex")));
        assert_eq!(key.sign(event.text().as_bytes()).as_str(), text(vector, "signature"));
        let signed =
            SignedEvent::parse(text(vector, "payload"), text(vector, "signature")).unwrap();
        assert_eq!(*signed.event(), event);
        signed.check_signature().unwrap();
        assert_eq!(signed.to_json(), text(vector, "redisValue"));
        assert_eq!(signed.event().id().as_str(), text(vector, "redisKey"));
        head = Some(event);
    }
    let next = private_key(text(&vectors["nextKey"], "privateKeyHex"));
    assert_eq!(next.public_key().as_str(), text(&vectors["nextKey"], "publicKey"));
    assert_eq!(head.unwrap().rotation_hash(), next.digest());
}

#[test]
fn the_published_log_verifies_and_is_printed_again() {
    let vectors = vectors();
    let log = log(&vectors);
    assert_eq!(log.events().len(), 4);
    assert_eq!(log.identity().as_str(), text(&vectors, "hsmIdentity"));
    assert_eq!(log.to_json(), text(&vectors, "hsmKeysReply"));
    let live: Vec<_> = log.live(now(), WINDOW).map(|e| e.event().sequence_number()).collect();
    assert_eq!(live, [3], "2 is tainted, 1 too old");
}

#[test]
fn endorsements() {
    let vectors = vectors();
    let log = log(&vectors);
    let [access, response, tainted, expired] = list(&vectors, "endorsements") else { panic!() };
    for vector in [access, response, tainted, expired] {
        let signed = SignedBody::parse(text(vector, "redisValue")).unwrap();
        assert_eq!(signed, SignedBody::parse(text(vector, "httpResponse")).unwrap());
        assert_eq!(signed.text(), text(vector, "body"));
        assert_eq!(signed.to_json(), text(vector, "redisValue"));
        let sha256 = Sha256::digest(signed.text());
        assert_eq!(sha256[..], hex(text(vector, "bodySha256Hex")));
        let body = make_body(&vectors, vector);
        assert_eq!(body.text(), signed.text());
        assert_eq!(body.signing_input().as_bytes()[..], sha256[..]);
        let number = vector["signedBySequence"].as_u64().unwrap() as usize;
        let signer = private_key(text(&list(&vectors, "events")[number], "privateKeyHex"));
        assert_eq!(signer.sign(body.text().as_bytes()), *signed.signature());
    }
    let verify = |vector: &Value, purpose: &str| {
        let signed = SignedBody::parse(text(vector, "redisValue")).unwrap();
        let key: PublicKey = text(vector, "redisKey").parse().unwrap();
        signed.verify_endorsement(&log, purpose, &key, now(), WINDOW)
    };
    let accepted = verify(access, "access").unwrap();
    assert_eq!(accepted.public_key().as_str(), text(access, "servicePublicKey"));
    assert_eq!(accepted.expiration(), at("2099-01-01T00:00:00.000Z"));
    verify(response, "response").unwrap();
    assert!(matches!(verify(response, "access"), Err(EndorsementError::Purpose { .. })));
    assert!(matches!(
        verify(tainted, "access"),
        Err(EndorsementError::Body(BodyError::NotLive { .. }))
    ));
    assert!(matches!(verify(expired, "access"), Err(EndorsementError::Expired { .. })));
}

/// Makes a vector's body from its sign request, in both ways that there are.
fn make_body(vectors: &Value, vector: &Value) -> Body {
    let identity = text(vectors, "hsmIdentity").parse().unwrap();
    let number = vector["signedBySequence"].as_u64().unwrap() as usize;
    let generation = text(&list(vectors, "events")[number], "id").parse().unwrap();
    let tail = BodyTail::new(identity, generation);
    let request = text(vector, "signRequest");
    let payload = &request[r#"{"payload":"#.len()..request.len() - 1];
    let body = tail.body(&Payload::parse(payload).unwrap());
    let endorsement = EndorsementPayload::parse(payload).unwrap();
    assert_eq!(tail.endorsement(&endorsement), body);
    let key = private_key(text(vector, "servicePrivateKeyHex"));
    assert_eq!(endorsement.public_key(), key.public_key());
    body
}

#[test]
fn protocol_messages() {
    let vectors = vectors();
    let protocol = &vectors["protocol"];
    let keys = |private: &str, public: &str| {
        for (private, public) in list(protocol, private).iter().zip(list(protocol, public)) {
            let key = private_key(private.as_str().unwrap());
            assert_eq!(key.public_key().as_str(), public.as_str().unwrap());
        }
    };
    keys("clientAuthenticationPrivateKeysHex", "clientAuthenticationPublicKeys");
    keys("clientAccessPrivateKeysHex", "clientAccessPublicKeys");
    let recovery = private_key(text(protocol, "recoveryPrivateKeyHex"));
    assert_eq!(recovery.public_key().as_str(), text(protocol, "recoveryPublicKey"));
    assert_eq!(recovery.digest().as_str(), text(protocol, "recoveryHash"));

    let client = |index: usize| list(protocol, "clientAuthenticationPublicKeys")[index].clone();
    let service = |index: usize| {
        Value::from(text(&list(&vectors, "endorsements")[index], "servicePublicKey"))
    };
    for (message, key) in [
        ("createAccount", client(0)),
        ("createAccountReply", service(1)),
        ("rotateDevice", client(1)),
        ("accessToken", service(0)),
    ] {
        let message = &protocol[message];
        let key: PublicKey = key.as_str().unwrap().parse().unwrap();
        let signature = text(message, "signature").parse().unwrap();
        key.verify(text(message, "payload").as_bytes(), &signature).unwrap();
        assert!(key.verify(b"another text", &signature).is_err());
    }
}
