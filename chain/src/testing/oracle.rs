//! What must hold of every parser for any bytes whatever, shared by the fuzz targets, the random
//! test and the replay of the corpus. Each function panics when it does not.

mod reference;

use std::sync::Arc;
use std::time::Duration;

use super::Draft;
use crate::anchor::Anchor;
use crate::batch::BatchedSignature;
use crate::body::{BodyTail, SignedBody};
use crate::cesr::{Digest, Nonce, PublicKey, Signature};
use crate::endorsement::EndorsementPayload;
use crate::event::Event;
use crate::head::{HeadPayload, HeadStatement};
use crate::log::KeyLog;
use crate::payload::Payload;
use crate::signed_payload::SignedPayload;
use crate::time::Timestamp;

/// A parser's rules: for any bytes it refuses them or all that it promises holds.
pub type Oracle = fn(&[u8]);

/// Every oracle under the name of its fuzz target and corpus folder.
pub const ORACLES: [(&str, Oracle); 6] = [
    ("texts", texts),
    ("payload", payload),
    ("event", event),
    ("body", body),
    ("log", log),
    ("batch", batch),
];

/// Values with one text: what parses prints as the same text.
pub fn texts(data: &[u8]) {
    fn one<T: std::str::FromStr + std::fmt::Display>(text: &str) {
        if let Ok(value) = text.parse::<T>() {
            assert_eq!(value.to_string(), text, "another text of the same value was accepted");
        }
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    one::<Digest>(text);
    one::<Nonce>(text);
    one::<PublicKey>(text);
    one::<Signature>(text);
    one::<Timestamp>(text);
    one::<Anchor>(text);
    if let Ok(instant) = text.parse::<Timestamp>() {
        assert_eq!(Timestamp::from_unix_millis(instant.unix_millis()), Ok(instant));
    }
}

/// The payload rules agree with an independent reading of them, and what is accepted can be signed.
pub fn payload(data: &[u8]) {
    let parsed = Payload::parse(data);
    if let Some(accepted) = reference::accepts(data) {
        assert_eq!(parsed.is_ok(), accepted, "{:?}", String::from_utf8_lossy(data));
    }
    let Ok(payload) = parsed else { return };
    assert_eq!(payload.text().as_bytes(), data);
    let tail = BodyTail::new(Digest::of(b"identity"), Digest::of(b"generation"));
    let body = tail.body(&payload);
    let signature = Signature::from_bytes(&[1; 64]).expect("1 to n-1");
    let signed = SignedBody::from_parts(body.text(), signature.as_str()).expect("a body");
    assert_eq!(signed.payload().as_bytes(), data);
    assert!(Event::parse(body.text()).is_err(), "a body passes for an event");
    if let Ok(endorsement) = EndorsementPayload::parse(payload.text()) {
        assert_eq!(endorsement.text(), payload.text());
        assert_eq!(endorsement.length(), payload.text().len());
        assert!(payload.has("publicKey") && payload.has("expiration"));
        assert_eq!(payload.string("purpose").as_deref(), Some(endorsement.purpose()));
    }
}

/// An accepted event has one text and one id, and is no body.
pub fn event(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(event) = Event::parse(text) else { return };
    assert_eq!(event.text(), text);
    let draft = Draft::of(&event);
    assert_eq!(draft.text(), text);
    assert_eq!(draft.sealed().text(), text, "the id is not the digest");
    assert!(Payload::parse(text).is_ok(), "an event is compact JSON");
    let signature = Signature::from_bytes(&[1; 64]).expect("1 to n-1");
    assert!(SignedBody::from_parts(text, signature.as_str()).is_err());
}

/// An accepted signed body prints as one that is accepted and equal.
pub fn body(data: &[u8]) {
    let Ok(signed) = SignedBody::parse(data) else { return };
    assert_eq!(SignedBody::parse(signed.to_json()).as_ref().ok(), Some(&signed));
    let payload = Payload::parse(signed.payload()).expect("the payload keeps the rules");
    let tail = BodyTail::new(signed.identity(), signed.generation_id());
    assert_eq!(tail.body(&payload).text(), signed.text());
}

/// An accepted batched signature has one text, its batch is a signed body, and its parts make it
/// again. What the parser of both forms takes prints as the same again.
pub fn batch(data: &[u8]) {
    if let Ok(signed) = SignedPayload::parse(data) {
        assert_eq!(SignedPayload::parse(signed.to_json()).ok().as_ref(), Some(&signed));
        assert!(Payload::parse(signed.payload()).is_ok(), "the payload keeps the rules");
        if let Ok(head) = HeadStatement::new(signed.body().clone()) {
            let payload = HeadPayload::new(head.sequence_number(), head.issued_at());
            assert_eq!(payload.expect("a number").text(), signed.body().payload());
        }
    }
    let Ok(item) = BatchedSignature::parse(data) else { return };
    assert_eq!(item.to_json().as_bytes(), data);
    assert!(SignedBody::parse(data).is_err(), "a batched signature passes for a body");
    let batch = item.batch();
    assert_eq!(batch.payload().text(), batch.signed().payload());
    body(batch.signed().to_json().as_bytes());
    let path: Vec<&str> = item.path().iter().map(Digest::as_str).collect();
    let again =
        BatchedSignature::from_parts(item.payload(), item.index(), &path, Arc::clone(batch));
    assert_eq!(again.ok().as_ref(), Some(&item));
}

/// An accepted log prints as one that is accepted and equal; a log that differs is never accepted
/// in its place.
pub fn log(data: &[u8]) {
    let Ok(events) = KeyLog::parse_json(data) else { return };
    let Some(first) = events.first() else { return };
    let anchor = Anchor::new(first.event().prefix());
    let Ok(log) = KeyLog::verify_json(data, &anchor, Timestamp::MAX, Duration::ZERO) else {
        return;
    };
    assert_eq!(log.events().len(), events.len());
    let json = log.to_json();
    let again = KeyLog::verify_json(json.as_bytes(), &log.anchor(), Timestamp::MAX, Duration::ZERO)
        .expect("a verified log");
    assert_eq!(again.to_json(), json);
    let mut followed =
        KeyLog::verify(events[..1].to_vec(), &anchor, Timestamp::MAX, Duration::ZERO)
            .expect("its first event");
    let caught_up = followed.catch_up(events, Timestamp::MAX, Duration::ZERO).expect("the rest");
    assert_eq!(caught_up + 1, log.events().len());
    assert_eq!(followed.to_json(), json);
}
