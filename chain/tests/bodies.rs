//! Payloads, signed bodies and endorsements: each rule broken once.

use std::time::Duration;

use hsmd_chain::body::{BodyError, BodyFormError};
use hsmd_chain::endorsement::{EndorsementError, EndorsementPayloadError};
use hsmd_chain::payload::PayloadError;
use hsmd_chain::testing::{LogBuilder, SoftwareKey, at};
use hsmd_chain::{
    Body, BodyTail, Digest, EndorsementPayload, KeyLog, Payload, PublicKey, SignedBody, Timestamp,
};

const WINDOW: Duration = Duration::from_secs(3600);

fn builder() -> LogBuilder {
    LogBuilder::new("bodies").rotate().taint().rotate()
}

/// An hour after the head: generation 2 is at the very end of its window.
fn now() -> Timestamp {
    at("2026-01-01T04:00:00.000Z")
}

fn service() -> PublicKey {
    *SoftwareKey::from_seed("service").public_key()
}

#[test]
fn payload_rules() {
    use PayloadError as E;
    let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    let good = [
        "{}",
        r#"{"":0}"#,
        r#"{"a b":" \t\u0000\ud83d\ude00"}"#,
        r#"{"a":{"a":{}}}"#,
        r#"{"n":[0,-0,1.5,1e9,1E-9,-1.0e+0,1e999,123456789012345678901234567890]}"#,
        "{\"é\":\"\u{7f}\"}",
    ];
    for good in good.into_iter().map(str::to_owned).chain([deep(31)]) {
        assert_eq!(Payload::parse(good.as_str()).unwrap().text(), good);
    }
    for (bad, expected) in [
        ("", E::NotObject),
        ("[]", E::NotObject),
        ("\"a\"", E::NotObject),
        ("1", E::NotObject),
        ("\u{feff}{}", E::ByteOrderMark),
        (" {}", E::Blank { at: 0 }),
        ("{}\n", E::Blank { at: 2 }),
        ("{ }", E::Blank { at: 1 }),
        (r#"{"a" :1}"#, E::Blank { at: 4 }),
        ("{\"a\":\t1}", E::Blank { at: 5 }),
        ("{\"a\":1\r}", E::Blank { at: 6 }),
        (r#"{"a":[1, 2]}"#, E::Blank { at: 8 }),
        (r#"{"a":1, "b":2}"#, E::Blank { at: 7 }),
        ("{}{}", E::Syntax { at: 2 }),
        ("{", E::Syntax { at: 1 }),
        (r#"{"a":1,}"#, E::Syntax { at: 7 }),
        (r#"{a:1}"#, E::Syntax { at: 1 }),
        (r#"{"a":01}"#, E::Syntax { at: 6 }),
        (r#"{"a":1.}"#, E::Syntax { at: 7 }),
        (r#"{"a":.5}"#, E::Syntax { at: 5 }),
        (r#"{"a":+1}"#, E::Syntax { at: 5 }),
        (r#"{"a":NaN}"#, E::Syntax { at: 5 }),
        (r#"{"a":tru}"#, E::Syntax { at: 5 }),
        (r#"{"a":"\x"}"#, E::Syntax { at: 7 }),
        (r#"{"a":"\u12g4"}"#, E::Syntax { at: 10 }),
        ("{\"a\":\"\n\"}", E::Syntax { at: 6 }),
        ("{\"a\":\"", E::Syntax { at: 6 }),
        (r#"{"a":1,"a":2}"#, E::DuplicateName { at: 12 }),
        (r#"{"a":1,"\u0061":2}"#, E::DuplicateName { at: 17 }),
        (r#"{"\/":1,"/":2}"#, E::DuplicateName { at: 13 }),
        (r#"{"x":[{"b":{"c":0,"d":1,"c":2}}]}"#, E::DuplicateName { at: 29 }),
        (r#"{"\ud83d\ude00":1,"😀":2}"#, E::DuplicateName { at: 26 }),
        (r#"{"a":"\ud800"}"#, E::LoneSurrogate { at: 6 }),
        (r#"{"a":"\udc00"}"#, E::LoneSurrogate { at: 6 }),
        (r#"{"a":"\ud800\ud800"}"#, E::LoneSurrogate { at: 6 }),
        (r#"{"a":"\ud800\n"}"#, E::LoneSurrogate { at: 6 }),
        (r#"{"\udc00\ud800":1}"#, E::LoneSurrogate { at: 2 }),
    ] {
        assert_eq!(Payload::parse(bad), Err(expected), "{bad:?}");
    }
    assert_eq!(Payload::parse(deep(32)), Err(E::TooDeep { at: 36 }));
    assert_eq!(Payload::parse(deep(100_000)), Err(E::TooDeep { at: 36 }));
    assert!(matches!(Payload::parse(*b"{\"\xff\":1}"), Err(E::NotUtf8(_))));
    assert!(matches!(Payload::parse(*b"{\"\xed\xa0\x80\":1}"), Err(E::NotUtf8(_))));
}

#[test]
fn top_level_members_are_found_by_their_unescaped_names() {
    let text = r#"{"publicKe\u0079":1,"in":{"expiration":2},"purpose":"a\u0062","l":["x"]}"#;
    let payload = Payload::parse(text).unwrap();
    assert!(payload.has("publicKey") && !payload.has("publicKe\\u0079"));
    assert!(!payload.has("expiration"), "only at the top level");
    assert_eq!(payload.member("in"), Some(r#"{"expiration":2}"#));
    assert_eq!(payload.member("l"), Some(r#"["x"]"#));
    assert_eq!(payload.string("purpose").as_deref(), Some("ab"));
    assert_eq!(payload.string("publicKey"), None, "not a string");
}

#[test]
fn a_body_is_made_in_one_piece_and_names_its_generation() {
    let (identity, generation) = (Digest::of(b"identity"), Digest::of(b"generation"));
    let tail = BodyTail::new(identity, generation);
    let body = tail.body(&Payload::parse(r#"{"purpose":"x"}"#).unwrap());
    let expected = format!(
        r#"{{"payload":{{"purpose":"x"}},"hsm":{{"identity":"{identity}","generationId":"{generation}"}}}}"#
    );
    assert_eq!(body.text(), expected);
    let bytes: Vec<u8> = Body::into_bytes(body);
    assert_eq!(bytes.capacity(), bytes.len(), "one allocation of the right size");
    let endorsement = EndorsementPayload::new("access", service(), now()).unwrap();
    let bytes = tail.endorsement(&endorsement).into_bytes();
    assert_eq!(bytes.capacity(), bytes.len());
}

#[test]
fn the_form_of_a_signed_body() {
    let good = builder().sign(3, r#"{"purpose":"document"}"#);
    let (text, signature) = (good.text(), good.signature());
    let wrap = |body: &str| format!(r#"{{"body":{body},"signature":"{signature}"}}"#);
    assert_eq!(SignedBody::parse(wrap(text)).unwrap(), good);
    assert_eq!(SignedBody::parse(format!(" {}\n", wrap(text))).unwrap(), good);
    assert_eq!(SignedBody::from_parts(text, signature.as_str()).unwrap(), good);
    let (identity, generation) = (good.identity(), good.generation_id());
    let hsm = format!(r#"{{"identity":"{identity}","generationId":"{generation}"}}"#);
    let payload = good.payload();
    for body in [
        format!(r#"{{"payload": {payload},"hsm":{hsm}}}"#),
        format!(r#"{{"payload":{payload},"hsm":{hsm}, "x":1}}"#),
        format!(r#"{{"payload":{payload},"hsm":{hsm},"x":1}}"#),
        format!(r#"{{"hsm":{hsm},"payload":{payload}}}"#),
        format!(r#"{{"payload":{payload},"payload":{payload},"hsm":{hsm}}}"#),
        format!(r#"{{"payload":{payload},"hsm":{hsm},"hsm":{hsm}}}"#),
        format!(r#"{{"payload":{payload}}}"#),
        format!(r#"{{"hsm":{hsm}}}"#),
        format!(
            r#"{{"payload":{payload},"hsm":{{"generationId":"{generation}","identity":"{identity}"}}}}"#
        ),
        format!(r#"{{"payload":{payload},"hsm":{{"identity":"{identity}"}}}}"#),
        format!(r#"{{"payload":{payload},"hsm":["{identity}","{generation}"]}}"#),
        format!(r#"[{payload},{hsm}]"#),
        format!(r#"{{"payload":{{"a":1,"a":2}},"hsm":{hsm}}}"#),
        format!(r#"{{"payload":{{"a": 1}},"hsm":{hsm}}}"#),
        format!(r#"{{"payload":[],"hsm":{hsm}}}"#),
        format!(r#"{{"payload":"{{}}","hsm":{hsm}}}"#),
        text.replace("payload", "p\\u0061yload"),
        text.replace(identity.as_str(), &identity.as_str().to_lowercase()),
        text.replace(&generation.as_str()[..1], "F"),
    ] {
        assert!(SignedBody::parse(wrap(&body)).is_err(), "{body}");
    }
    for json in [
        format!(r#"{{"body":{text}}}"#),
        format!(r#"{{"signature":"{signature}"}}"#),
        format!(r#"{{"body":{text},"signature":"{signature}","x":1}}"#),
        format!(r#"{{"body":{text},"body":{text},"signature":"{signature}"}}"#),
        format!(r#"[{text},"{signature}"]"#),
        format!(r#"{{"body":{text},"signature":"{}"}}"#, &signature.as_str()[1..]),
        format!(r#"{{"body":{text},"signature":null}}"#),
        format!("{}x", wrap(text)),
        String::new(),
    ] {
        assert!(SignedBody::parse(&json).is_err(), "{json}");
    }
    assert!(matches!(SignedBody::parse(b"\xff"), Err(BodyFormError::NotUtf8(_))));
}

#[test]
fn a_body_is_believed_of_live_generations_of_the_identity_only() {
    let (builder, document) = (builder(), r#"{"purpose":"document"}"#);
    let log = builder.log();
    let verify = |signed: &SignedBody, at: Timestamp| signed.verify(&log, at, WINDOW);
    assert_eq!(verify(&builder.sign(3, document), now()).unwrap().sequence_number(), 3);
    let older = verify(&builder.sign(2, document), now()).unwrap();
    assert_eq!(older.generation_id(), builder.id(2));
    let too_late = now().saturating_add(Duration::from_millis(1));
    let dead = Err(BodyError::NotLive { generation_id: builder.id(2) });
    assert_eq!(verify(&builder.sign(2, document), too_late), dead);
    assert_eq!(older.recheck(&log, now(), WINDOW), Ok(()));
    assert_eq!(Err(older.recheck(&log, too_late, WINDOW).unwrap_err()), dead);
    let tainted = Err(BodyError::NotLive { generation_id: builder.id(1) });
    assert_eq!(builder.sign(1, document).verify(&log, now(), Duration::MAX), tainted);
    assert!(builder.sign(0, document).verify(&log, now(), Duration::MAX).is_ok());

    let stranger = LogBuilder::new("stranger");
    let (expected, found) = (builder.identity(), stranger.identity());
    let refused = verify(&stranger.sign(0, document), now());
    assert_eq!(refused, Err(BodyError::Identity { expected, found }));
    let newer = builder.clone().rotate();
    let unknown = Err(BodyError::UnknownGeneration { generation_id: newer.id(4) });
    assert_eq!(verify(&newer.sign(4, document), now()), unknown);
    let good = builder.sign(3, document);
    let other = builder.sign(3, r#"{"purpose":"documenu"}"#);
    let forged = SignedBody::from_parts(good.text(), other.signature().as_str()).unwrap();
    assert_eq!(verify(&forged, now()), Err(BodyError::Signature));
}

#[test]
fn each_rule_of_an_endorsement() {
    use EndorsementError as E;
    let builder = builder();
    let (log, key) = (builder.log(), service());
    let later = now().saturating_add(Duration::from_millis(1));
    let check = |signed: &SignedBody, log: &KeyLog| {
        signed.verify_endorsement(log, "access", &key, now(), WINDOW)
    };
    let good = builder.endorse(3, "access", &key, later);
    let verified = check(&good, &log).unwrap();
    assert_eq!((verified.purpose(), *verified.public_key()), ("access", key));
    assert_eq!((verified.expiration(), verified.generation_id()), (later, builder.id(3)));
    assert!(verified.recheck(&log, now(), WINDOW).is_ok());
    assert!(matches!(verified.recheck(&log, later, WINDOW), Err(E::Expired { .. })));
    let tainted = builder.clone().taint();
    let dead = verified.recheck(&tainted.log(), now(), WINDOW);
    assert!(matches!(dead, Err(E::Body(BodyError::NotLive { .. }))), "{dead:?}");
    assert!(check(&builder.endorse(2, "access", &key, later), &log).is_ok());

    let expired = check(&builder.endorse(3, "access", &key, now()), &log);
    assert!(matches!(expired, Err(E::Expired { .. })), "{expired:?}");
    let purpose = check(&builder.endorse(3, "response", &key, later), &log);
    assert!(matches!(purpose, Err(E::Purpose { .. })), "{purpose:?}");
    let other = *SoftwareKey::from_seed("other service").public_key();
    let stored_elsewhere = check(&builder.endorse(3, "access", &other, later), &log);
    assert!(matches!(stored_elsewhere, Err(E::PublicKey { .. })), "{stored_elsewhere:?}");
    let dead = check(&builder.endorse(1, "access", &key, later), &log);
    assert!(matches!(dead, Err(E::Body(BodyError::NotLive { .. }))), "{dead:?}");
    for payload in [
        r#"{"purpose":"access"}"#.to_owned(),
        format!(r#"{{"purpose":"access","expiration":"{later}","publicKey":"{key}"}}"#),
        format!(r#"{{"purpose":"access","publicKey":"{key}","expiration":"{later}","x":1}}"#),
        format!(r#"{{"purpose":"acces\u0073","publicKey":"{key}","expiration":"{later}"}}"#),
        format!(r#"{{"purpose":"access","publicKey":"{key}","expiration":"9999"}}"#),
        format!(r#"{{"purpose":"","publicKey":"{key}","expiration":"{later}"}}"#),
        format!(
            r#"{{"purpose":"access","publicKey":"{}","expiration":"{later}"}}"#,
            log.identity()
        ),
    ] {
        let refused = check(&builder.sign(3, &payload), &log);
        assert!(matches!(refused, Err(E::Payload(_))), "{payload}: {refused:?}");
    }
    for purpose in ["", "a b", "a\"", "a\\", "é", "a\n", &"a".repeat(65)] {
        let refused = EndorsementPayload::new(purpose, key, later);
        assert!(matches!(refused, Err(EndorsementPayloadError::Purpose)), "{purpose:?}");
    }
}

#[test]
fn neither_an_event_nor_a_body_passes_for_the_other() {
    let builder = builder();
    let event = builder.head();
    let as_body = SignedBody::from_parts(event.text(), event.signature().as_str());
    assert!(matches!(as_body, Err(BodyFormError::Malformed(_))), "{as_body:?}");
    // Even a payload that is an event's text is only a payload.
    let signed = builder.sign(3, event.text());
    assert!(signed.text().starts_with(r#"{"payload":{"id":"#));
    let as_event = hsmd_chain::SignedEvent::parse(signed.text(), signed.signature().as_str());
    let Err(fault) = as_event else { panic!("{as_event:?}") };
    assert!(matches!(fault, hsmd_chain::EventFault::Malformed(_)), "{fault:?}");
}
