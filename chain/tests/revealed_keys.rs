//! A key is revealed once: logs whose events reveal a key again, or commit to their own.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::time::Duration;

use hsmd_chain::testing::{Draft, LogBuilder, at};
use hsmd_chain::{
    Anchor, Event, EventFault, ExtendError, Extended, KeyLog, LogError, SignedEvent, Timestamp,
};
use serde_json::Value;

const SKEW: Duration = Duration::from_secs(5);

fn now() -> Timestamp {
    at("2030-01-01T00:00:00.000Z")
}

/// The golden cases: name, anchor, published log, the case.
fn cases() -> Vec<(String, Anchor, String, Value)> {
    let file: Value = serde_json::from_str(include_str!("revealed_keys.json")).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 10);
    let text = |case: &Value, member: &str| case[member].as_str().unwrap().to_owned();
    cases
        .iter()
        .map(|case| {
            let anchor = text(case, "identity").parse().unwrap();
            (text(case, "name"), anchor, text(case, "log"), case.clone())
        })
        .collect()
}

/// Asserts that a fault is the one that the case names.
fn assert_fault(name: &str, case: &Value, fault: &EventFault) {
    match fault {
        EventFault::CommitsToOwnKey => {
            assert_eq!(case["fault"], "commits to its own key", "{name}")
        }
        EventFault::KeyRevealedBefore { number } => {
            assert_eq!(case["fault"], "revealed before", "{name}");
            assert_eq!(case["revealedBy"], *number, "{name}");
        }
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn whole_logs() {
    for (name, anchor, log, case) in cases() {
        match KeyLog::verify_json(log.as_bytes(), &anchor, now(), SKEW) {
            Ok(_) => assert_eq!(case["accept"], true, "{name}"),
            Err(LogError::Event { position, source }) => {
                assert_eq!(case["position"], position, "{name}");
                assert_fault(&name, &case, &source);
            }
            Err(other) => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn logs_that_are_followed() {
    for (name, anchor, log, case) in cases() {
        let elements: Vec<Value> = serde_json::from_str(&log).unwrap();
        let texts: Vec<&serde_json::value::RawValue> = serde_json::from_str(&log).unwrap();
        let event = |number: usize| {
            let text = texts[number].get().strip_prefix(r#"{"payload":"#).unwrap();
            let (text, _) = text.split_once(r#","signature":"#).unwrap();
            SignedEvent::parse(text, elements[number]["signature"].as_str().unwrap())
        };
        let first = match event(0) {
            Ok(first) => first,
            Err(fault) => {
                assert_eq!(case["position"], 0, "{name}");
                assert_fault(&name, &case, &fault);
                continue;
            }
        };
        let mut followed = KeyLog::verify([first], &anchor, now(), SKEW).unwrap();
        for number in 1..elements.len() {
            let refused = match event(number) {
                Err(fault) => fault,
                Ok(event) => match followed.extend(event, now(), SKEW) {
                    Ok(extended) => {
                        assert_eq!(extended, Extended::Appended);
                        continue;
                    }
                    Err(ExtendError::Event(fault)) => fault,
                    Err(other) => panic!("{name}: {other:?}"),
                },
            };
            assert_eq!(case["position"], number, "{name}");
            assert_fault(&name, &case, &refused);
            break;
        }
        let accepted = case["position"].as_u64().unwrap_or(elements.len() as u64);
        assert_eq!(followed.events().len() as u64, accepted, "{name}");
    }
}

#[test]
fn an_event_that_commits_to_its_own_key_is_neither_made_nor_taken() {
    let builder = LogBuilder::of_length("own key", 3);
    let head = builder.head().event();
    let next = builder.key(3);
    let later = now();
    let made = Event::successor(head, *next.public_key(), next.digest(), later, false);
    assert!(matches!(made, Err(EventFault::CommitsToOwnKey)), "{made:?}");

    let key = builder.key(0);
    let first = Event::inception(*key.public_key(), key.digest(), later);
    let signature = key.sign(first.text().as_bytes());
    let anchor = Anchor::new(first.prefix());
    let refused = KeyLog::verify([SignedEvent::new(first, signature)], &anchor, later, SKEW);
    let Err(LogError::Event { position: 0, source: EventFault::CommitsToOwnKey }) = refused else {
        panic!("{refused:?}");
    };
}

#[test]
fn a_key_revealed_again_by_an_event_from_the_future_taints_nothing() {
    let builder = LogBuilder::of_length("again", 3);
    let (old, head) = (builder.key(0), builder.key(2));
    let hash = format!("\"{}\"", old.digest());
    let (text, signature) =
        Draft::of(builder.head().event()).set("rotationHash", &hash, "").sealed().signed(head);
    let committing = SignedEvent::parse(&text, signature.as_str()).unwrap();
    let mut log = builder.rewound_to(2).log();
    assert_eq!(log.extend(committing.clone(), now(), SKEW).unwrap(), Extended::Appended);

    let made = committing.event().created_at();
    let later = made.saturating_add(Duration::from_secs(3600));
    let again = Event::successor(committing.event(), *old.public_key(), head.digest(), later, true)
        .unwrap();
    let signature = old.sign(again.text().as_bytes());
    let again = SignedEvent::new(again, signature);
    for time in [made, later] {
        let refused = log.extend(again.clone(), time, SKEW);
        let Err(ExtendError::Event(EventFault::KeyRevealedBefore { number: 0 })) = refused else {
            panic!("{refused:?}");
        };
        assert!(log.is_live(&committing.event().id(), made, Duration::ZERO));
    }
}
