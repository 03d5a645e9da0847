//! Batched signatures: every golden vector, accepted or refused for its own reason, and whatever may
//! be changed in one.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::sync::Arc;
use std::time::Duration;

use hsmd_chain::batch::{BatchFormError, BatchPayloadError, ProofError};
use hsmd_chain::body::BodyError;
use hsmd_chain::endorsement::EndorsementError;
use hsmd_chain::signed_payload::SignedFormError;
use hsmd_chain::testing::{LogBuilder, SoftwareKey, at};
use hsmd_chain::{
    Anchor, BatchPayload, BatchedSignature, BodyTail, EndorsementPayload, KeyLog, MerkleTree,
    SignedBatch, SignedBody, SignedPayload, Timestamp,
};
use serde_json::Value;

const SKEW: Duration = Duration::from_secs(5);
const WINDOW: Duration = Duration::from_secs(12 * 3600);

fn golden() -> Value {
    serde_json::from_str(include_str!("batches.json")).unwrap()
}

fn now() -> Timestamp {
    at("2025-11-03T23:00:01.000Z")
}

fn log() -> KeyLog {
    let vectors: Value = serde_json::from_str(include_str!("vectors.json")).unwrap();
    let anchor: Anchor = text(&vectors, "hsmIdentity").parse().unwrap();
    let json = text(&vectors, "hsmKeysReply");
    KeyLog::verify_json(json.as_bytes(), &anchor, now(), SKEW).unwrap()
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap()
}

fn list<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value[member].as_array().unwrap()
}

fn batched(text: &str) -> BatchedSignature {
    match SignedPayload::parse(text).unwrap() {
        SignedPayload::Batched(item) => item,
        SignedPayload::Plain(_) => panic!("a plain body: {text}"),
    }
}

#[test]
fn golden_batches_are_accepted_and_made_again() {
    let (golden, log) = (golden(), log());
    let mut items = 0;
    for batch in list(&golden, "batches") {
        let signed = SignedBatch::new(SignedBody::parse(text(batch, "batch")).unwrap()).unwrap();
        assert_eq!(signed.payload().root().as_str(), text(batch, "root"));
        assert_eq!(batch["size"], signed.payload().size());
        let texts: Vec<&str> = list(batch, "items").iter().map(|t| t.as_str().unwrap()).collect();
        for text in &texts {
            let item = batched(text);
            assert_eq!(item.to_json(), *text);
            assert_eq!(**item.batch(), signed);
            let item = SignedPayload::from(item);
            let verified = item.verify(&log, now(), WINDOW).unwrap();
            assert_eq!(batch["signedBySequence"], verified.sequence_number());
            assert_eq!(verified.signed(), &item);
            if batch["documents"] != true {
                let payload = EndorsementPayload::parse(item.payload()).unwrap();
                let key = payload.public_key();
                item.verify_endorsement(&log, payload.purpose(), key, now(), WINDOW).unwrap();
            }
            items += 1;
        }
        if texts.len() == signed.payload().size() as usize {
            let items: Vec<_> = texts.iter().map(|text| batched(text)).collect();
            let tree = MerkleTree::new(items.iter().map(BatchedSignature::payload)).unwrap();
            assert_eq!(BatchPayload::of(&tree), *signed.payload());
            let tail = BodyTail::new(signed.signed().identity(), signed.signed().generation_id());
            assert_eq!(tail.batch(signed.payload()).text(), signed.signed().text());
            for (index, item) in (0..).zip(&items) {
                assert_eq!(item.index(), index);
                assert_eq!(tree.path(index).unwrap(), item.path());
            }
        }
    }
    assert_eq!(items, 32);
}

/// What a text is refused for, as the name of the error.
fn refusal(text: &str, log: &KeyLog) -> String {
    let signed = match SignedPayload::parse(text) {
        Ok(signed) => signed,
        Err(SignedFormError::Batched(error)) => {
            return match error {
                BatchFormError::NotCanonical => "not canonical".to_owned(),
                BatchFormError::Malformed(_) => "members".to_owned(),
                BatchFormError::NotBatch(BatchPayloadError::Size(size)) => format!("size {size}"),
                BatchFormError::NotBatch(BatchPayloadError::Malformed(_)) => "payload".to_owned(),
                other => panic!("{text}: {other:?}"),
            };
        }
        Err(other) => panic!("{text}: {other:?}"),
    };
    match signed.verify(log, now(), WINDOW).unwrap_err() {
        BodyError::Proof(ProofError::Index { index, size }) => format!("index {index} of {size}"),
        BodyError::Proof(ProofError::PathLength { expected, found }) => {
            format!("path {found}, not {expected}")
        }
        BodyError::Proof(ProofError::Root) => "root".to_owned(),
        BodyError::Signature => "signature".to_owned(),
        BodyError::NotLive { .. } => "not live".to_owned(),
        BodyError::ReservedLeaf { purpose } => format!("leaf {purpose}"),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn golden_refusals_have_their_own_reasons() {
    let (golden, log) = (golden(), log());
    let expected = [
        ("another payload", "root"),
        ("index of another leaf", "path 1, not 3"),
        ("index outside the tree", "index 5 of 5"),
        ("path one short", "path 0, not 1"),
        ("path one long", "path 2, not 1"),
        ("path reversed (three elements)", "root"),
        ("size changed, signature no longer fits", "signature"),
        ("an inner node passed off as a leaf", "root"),
        ("signed by a tainted generation (2)", "not live"),
        ("the signed body is no batch", "payload"),
        ("members in another order", "not canonical"),
        ("a member more", "members"),
        ("size 0", "size 0"),
        ("size 16385", "size 16385"),
        ("size written as 1.0", "payload"),
        ("a leaf with a reserved purpose", "leaf head"),
    ];
    let refused: Vec<(String, String)> = list(&golden, "refused")
        .iter()
        .map(|case| (text(case, "name").to_owned(), refusal(text(case, "text"), &log)))
        .collect();
    let refused: Vec<_> = refused.iter().map(|(name, why)| (&**name, &**why)).collect();
    assert_eq!(refused, expected);
}

/// A batch of endorsements of `size` keys by the head of a log.
fn batch(builder: &LogBuilder, size: u32) -> Vec<BatchedSignature> {
    let expiration = at("2027-01-01T00:00:00.000Z");
    let payloads: Vec<String> = (0..size)
        .map(|number| {
            let key = SoftwareKey::from_seed(&format!("service {number}"));
            EndorsementPayload::new("access", *key.public_key(), expiration).unwrap().text()
        })
        .collect();
    builder.batch(builder.events().len() - 1, &payloads)
}

#[test]
fn a_batched_endorsement_is_judged_as_a_plain_one() {
    let builder = LogBuilder::of_length("batches", 3);
    let made = builder.head().event().created_at();
    let log = builder.log();
    let items = batch(&builder, 9);
    let key = |number: usize| *SoftwareKey::from_seed(&format!("service {number}")).public_key();
    for (number, item) in items.iter().enumerate() {
        let item = SignedPayload::from(item.clone());
        let verify = |purpose: &str, number: usize, time: Timestamp| {
            item.verify_endorsement(&log, purpose, &key(number), time, WINDOW)
        };
        let verified = verify("access", number, made).unwrap();
        assert_eq!(verified.public_key(), &key(number));
        assert_eq!(verified.generation_id(), builder.id(2));
        assert_eq!(verified.body().payload(), item.payload());
        let other = verify("response", number, made);
        assert!(matches!(other, Err(EndorsementError::Purpose { .. })), "{other:?}");
        let other = verify("access", (number + 1) % 9, made);
        assert!(matches!(other, Err(EndorsementError::PublicKey { .. })), "{other:?}");
        let expired = verify("access", number, at("2027-01-01T00:00:00.000Z"));
        assert!(matches!(expired, Err(EndorsementError::Expired { .. })), "{expired:?}");
    }
}

#[test]
fn a_remembered_batch_dies_with_its_generation() {
    let builder = LogBuilder::of_length("memory", 3);
    let tainting = builder.clone().taint();
    let later = tainting.head().event().created_at();
    let items = batch(&builder, 4);
    let mut log = builder.log();
    let item = |number: usize| SignedPayload::from(items[number].clone());
    let verified = item(0).verify(&log, later, WINDOW).unwrap();
    log.extend(tainting.head().clone(), later, SKEW).unwrap();
    for number in 0..4 {
        let refused = item(number).verify(&log, later, WINDOW);
        assert!(matches!(refused, Err(BodyError::NotLive { .. })), "{refused:?}");
    }
    assert!(matches!(verified.recheck(&log, later, WINDOW), Err(BodyError::NotLive { .. })));
}

#[test]
fn a_remembered_batch_vouches_for_no_other_signature_or_body() {
    let builder = LogBuilder::of_length("forged", 2);
    let (log, items) = (builder.log(), batch(&builder, 4));
    let good = SignedPayload::from(items[1].clone());
    good.verify(&log, at("2026-01-01T02:00:00.000Z"), WINDOW).unwrap();
    let forge = |signed: SignedBody| {
        let batch = Arc::new(SignedBatch::new(signed).unwrap());
        let path: Vec<&str> = items[1].path().iter().map(|hash| hash.as_str()).collect();
        let item = BatchedSignature::from_parts(items[1].payload(), 1, &path, batch).unwrap();
        SignedPayload::from(item).verify(&log, at("2026-01-01T02:00:00.000Z"), WINDOW)
    };
    let body = items[1].batch().signed();
    let thief = SoftwareKey::from_seed("thief").sign(body.text().as_bytes());
    let refused = forge(SignedBody::from_parts(body.text(), thief.as_str()).unwrap());
    assert_eq!(refused, Err(BodyError::Signature));
    let other = BodyTail::new(builder.identity(), builder.id(0));
    let other = other.batch(items[1].batch().payload());
    let renamed = SignedBody::from_parts(other.text(), body.signature().as_str()).unwrap();
    assert_eq!(forge(renamed), Err(BodyError::Signature));
    let other_s = builder.key(1).sign_other_s(body.text().as_bytes());
    forge(SignedBody::from_parts(body.text(), other_s.as_str()).unwrap()).unwrap();
}

#[test]
fn every_changed_byte_of_a_batched_signature_is_refused() {
    let builder = LogBuilder::of_length("bytes", 2);
    let (log, items) = (builder.log(), batch(&builder, 6));
    let time = at("2026-01-01T02:00:00.000Z");
    for item in [&items[2], &items[5]] {
        let json = item.to_json();
        for position in 0..json.len() {
            for bit in [1, 2, 4, 16, 32] {
                let mut bytes = json.clone().into_bytes();
                bytes[position] ^= bit;
                if let Ok(signed) = SignedPayload::parse(&bytes) {
                    let verified = signed.verify(&log, time, WINDOW);
                    assert!(verified.is_err(), "{}", String::from_utf8_lossy(&bytes));
                }
            }
        }
        for position in 0..=json.len() {
            for blank in [" ", "\n"] {
                let text = format!("{}{blank}{}", &json[..position], &json[position..]);
                let in_payload = position > 11 && position < 11 + item.payload().len();
                match SignedPayload::parse(&text) {
                    Err(_) => {}
                    Ok(signed) => assert!(in_payload && signed.verify(&log, time, WINDOW).is_err()),
                }
            }
        }
    }
}

#[test]
fn no_leaf_has_a_reserved_purpose() {
    let builder = LogBuilder::new("reserved");
    let log = builder.log();
    let time = builder.head().event().created_at();
    for purpose in ["batch", "head", "health", "key-authorization", "he\\u0061lth"] {
        let payloads =
            [format!(r#"{{"purpose":"{purpose}"}}"#), r#"{"purpose":"document"}"#.into()];
        let items = builder.batch(0, &payloads);
        let refused = SignedPayload::from(items[0].clone()).verify(&log, time, WINDOW);
        assert!(matches!(refused, Err(BodyError::ReservedLeaf { .. })), "{refused:?}");
        SignedPayload::from(items[1].clone()).verify(&log, time, WINDOW).unwrap();
    }
}

#[test]
fn trees_have_1_to_16384_leaves() {
    let size = |leaves: usize| MerkleTree::new(std::iter::repeat_n("{}", leaves));
    assert_eq!(size(0).unwrap_err().found, 0);
    assert_eq!(size(16_385).unwrap_err().found, 16_385);
    let tree = size(16_384).unwrap();
    assert_eq!((tree.size(), tree.path(16_383).unwrap().len()), (16_384, 14));
    assert!(tree.path(16_384).is_none());
}

#[test]
fn the_parser_takes_either_form_and_names_the_one_that_was_begun() {
    let builder = LogBuilder::new("forms");
    let plain = builder.sign(0, r#"{"purpose":"document"}"#);
    let spaced =
        format!("{{ \"signature\" : \"{}\", \"body\":{} }}", plain.signature(), plain.text());
    for json in [plain.to_json(), spaced] {
        assert_eq!(SignedPayload::parse(json).unwrap(), SignedPayload::Plain(plain.clone()));
    }
    let item = builder.batch(0, &[r#"{"purpose":"document"}"#.to_owned()]).remove(0);
    assert_eq!(SignedPayload::parse(item.to_json()).unwrap(), SignedPayload::Batched(item.clone()));
    assert!(SignedBody::parse(item.to_json()).is_err(), "readers of plain bodies refuse it");
    for (json, batched) in [("{\"proof\":1}", true), ("{ \"batch\":1}", true), ("[]", false)] {
        let refused = SignedPayload::parse(json);
        assert_eq!(matches!(refused, Err(SignedFormError::Batched(_))), batched, "{refused:?}");
    }
}
