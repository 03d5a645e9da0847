//! Head statements: the golden ones, and the rule of freshness to the millisecond.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::time::Duration;

use hsmd_chain::body::BodyError;
use hsmd_chain::head::{HeadError, HeadFormError};
use hsmd_chain::testing::{LogBuilder, SoftwareKey, at};
use hsmd_chain::{
    Anchor, BodyTail, Freshness, HeadPayload, HeadStatement, KeyLog, SignedBody, Timestamp,
};
use serde_json::Value;

const FRESHNESS: Freshness =
    Freshness { max_staleness: Duration::from_secs(60), skew: Duration::from_secs(5) };

fn golden_log() -> KeyLog {
    let vectors: Value = serde_json::from_str(include_str!("vectors.json")).unwrap();
    let anchor: Anchor = vectors["hsmIdentity"].as_str().unwrap().parse().unwrap();
    let json = vectors["hsmKeysReply"].as_str().unwrap();
    KeyLog::verify_json(json.as_bytes(), &anchor, Timestamp::MAX, Duration::ZERO).unwrap()
}

#[test]
fn golden_heads() {
    let golden: Value = serde_json::from_str(include_str!("batches.json")).unwrap();
    let (log, now) = (golden_log(), at("2025-11-03T23:00:01.000Z"));
    let heads = golden["heads"].as_array().unwrap();
    let outcomes: Vec<_> = heads
        .iter()
        .map(|case| {
            let text = case["text"].as_str().unwrap();
            let statement = HeadStatement::parse(text).unwrap();
            assert_eq!(statement.signed().to_json(), text);
            let verified = statement.verify(&log, now, FRESHNESS);
            assert_eq!(case["accept"], verified.is_ok());
            verified.map(|head| head.sequence_number())
        })
        .collect();
    let expected = [
        Ok(3),
        Err(HeadError::SequenceNumber { expected: 3, found: 2 }),
        Err(HeadError::Behind { head: 3, found: 1 }),
        Err(HeadError::Behind { head: 3, found: 2 }),
    ];
    assert_eq!(outcomes, expected);
}

/// A statement by a generation, whatever number it names.
fn statement(log: &LogBuilder, number: usize, payload: HeadPayload) -> HeadStatement {
    let tail = BodyTail::new(log.identity(), log.id(number));
    let body = tail.head(&payload);
    let signature = log.key(number).sign(body.text().as_bytes());
    HeadStatement::new(SignedBody::new(body, &tail, signature)).unwrap()
}

#[test]
fn a_statement_is_fresh_for_max_staleness_and_no_further_ahead_than_the_skew() {
    let builder = LogBuilder::of_length("fresh", 3);
    let (log, issued) = (builder.log(), at("2026-06-01T12:00:00.000Z"));
    let head = statement(&builder, 2, HeadPayload::new(2, issued).unwrap());
    let ms = Duration::from_millis(1);
    let (oldest, earliest) = (
        issued.saturating_add(FRESHNESS.max_staleness),
        issued.checked_sub(FRESHNESS.skew).unwrap(),
    );
    for now in [issued, oldest, earliest] {
        let verified = head.verify(&log, now, FRESHNESS).unwrap();
        assert_eq!((verified.issued_at(), verified.generation_id()), (issued, builder.id(2)));
        assert_eq!(verified.recheck(&log, now, FRESHNESS), Ok(()));
    }
    let verified = head.verify(&log, issued, FRESHNESS).unwrap();
    for (now, error) in [
        (oldest.saturating_add(ms), HeadError::Stale { issued_at: issued }),
        (earliest.checked_sub(ms).unwrap(), HeadError::Future { issued_at: issued }),
    ] {
        assert_eq!(head.verify(&log, now, FRESHNESS), Err(error.clone()));
        assert_eq!(verified.recheck(&log, now, FRESHNESS), Err(error));
    }
}

#[test]
fn a_statement_of_an_earlier_or_later_generation_proves_nothing() {
    let builder = LogBuilder::of_length("moves", 3);
    let issued = at("2026-06-01T12:00:00.000Z");
    let old = statement(&builder, 2, HeadPayload::new(2, issued).unwrap());
    let moved = builder.clone().rotate();
    let new = statement(&moved, 3, HeadPayload::new(3, issued).unwrap());
    let (before, after) = (builder.log(), moved.log());

    let refused = new.verify(&before, issued, FRESHNESS).unwrap_err();
    assert!(refused.is_ahead(), "{refused:?}");
    let verified = old.verify(&before, issued, FRESHNESS).unwrap();
    let behind = HeadError::Behind { head: 3, found: 2 };
    assert!(!behind.is_ahead());
    assert_eq!(old.verify(&after, issued, FRESHNESS), Err(behind.clone()));
    assert_eq!(verified.recheck(&after, issued, FRESHNESS), Err(behind));
    assert!(new.verify(&after, issued, FRESHNESS).is_ok());

    // A taint that lies in the reader's future kills the head's statements at once.
    let (mut early, tainting) = (builder.log(), builder.clone().taint());
    let now = builder.head().event().created_at();
    let head = statement(&builder, 2, HeadPayload::new(2, now).unwrap());
    let verified = head.verify(&early, now, FRESHNESS).unwrap();
    early.extend(tainting.head().clone(), now, Duration::ZERO).unwrap_err();
    let dead = HeadError::Body(BodyError::NotLive { generation_id: builder.id(2) });
    assert_eq!(head.verify(&early, now, FRESHNESS), Err(dead.clone()));
    assert_eq!(verified.recheck(&early, now, FRESHNESS), Err(dead));
}

#[test]
fn statements_are_signed_by_their_generation_and_have_one_text() {
    let builder = LogBuilder::of_length("forms", 2);
    let (log, issued) = (builder.log(), at("2026-06-01T12:00:00.000Z"));
    let head = statement(&builder, 1, HeadPayload::new(1, issued).unwrap());
    let forged = SoftwareKey::from_seed("thief").sign(head.signed().text().as_bytes());
    let forged = SignedBody::from_parts(head.signed().text(), forged.as_str()).unwrap();
    let refused = HeadStatement::new(forged).unwrap().verify(&log, issued, FRESHNESS);
    assert_eq!(refused, Err(HeadError::Body(BodyError::Signature)));
    let other = LogBuilder::of_length("other", 2);
    let refused = head.verify(&other.log(), issued, FRESHNESS);
    assert!(matches!(refused, Err(HeadError::Body(BodyError::Identity { .. }))), "{refused:?}");

    let good = head.signed().payload();
    assert_eq!(HeadPayload::parse(good).unwrap().text(), good);
    assert!(HeadPayload::new(100_000_000, issued).is_err());
    for bad in [
        good.replace("\"head\"", "\"health\""),
        good.replace(":1,", ":1.0,"),
        good.replace(":1,", ":01,"),
        good.replace(":1,", ":-1,"),
        good.replace(":1,", ":100000000,"),
        good.replace(":1,", ":\"1\","),
        good.replace("000Z", "00Z"),
        good.replace("}", ",\"more\":1}"),
        good.replace("sequenceNumber", "\\u0073equenceNumber"),
        r#"{"purpose":"head","issuedAt":"2026-06-01T12:00:00.000Z","sequenceNumber":1}"#.to_owned(),
    ] {
        assert_ne!(bad, good);
        assert!(HeadPayload::parse(&bad).is_err(), "{bad}");
    }
    let document = HeadStatement::new(builder.sign(1, r#"{"purpose":"document"}"#));
    assert!(matches!(document, Err(HeadFormError::Payload(_))), "{document:?}");
}
