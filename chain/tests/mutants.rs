//! Every member of an event against every rule. Each mutant is hashed and signed again with the
//! right key, so that only the rule under test can refuse it, and is offered both at the end of a
//! whole log and as an extension.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::time::Duration;

use hsmd_chain::testing::{Draft, LogBuilder, SoftwareKey, published};
use hsmd_chain::{
    Anchor, Digest, EventFault, ExtendError, KeyLog, LogError, Signature, SignedEvent, Timestamp,
};

/// An event's text, perhaps of no event, and the signature over it.
type Mutant = (String, Signature);

const SKEW: Duration = Duration::from_secs(5);
/// The events that are mutated: the inception, a rotation, a taint, and a rotation after it.
const NUMBERS: [usize; 4] = [0, 1, 2, 3];

fn log() -> LogBuilder {
    LogBuilder::new("mutants").rotate().taint().rotate()
}

fn now(log: &LogBuilder) -> Timestamp {
    log.head().event().created_at()
}

fn draft(log: &LogBuilder, number: usize) -> Draft {
    Draft::of(log.events()[number].event())
}

fn quoted(text: impl std::fmt::Display) -> String {
    format!("\"{text}\"")
}

/// The members that event `number` of [`log`] has, in order.
fn members(number: usize) -> Vec<&'static str> {
    let all =
        "id prefix sequenceNumber previous createdAt taintPrevious purpose publicKey rotationHash";
    let absent = |name: &str| match name {
        "previous" => number == 0,
        "taintPrevious" => number != 2,
        _ => false,
    };
    all.split(' ').filter(|name| !absent(name)).collect()
}

/// Asserts that event `number` in the form of `text` is refused with the fault of this name (or
/// accepted, for ""), by the verifier of whole logs and by `extend` alike.
fn expect(what: &str, log: &LogBuilder, number: usize, mutant: &Mutant, fault: &str) {
    let found = verify_whole(log, number, mutant);
    assert_eq!(found, fault, "whole log, event {number}, {what}: {}", mutant.0);
    if number > 0 {
        let found = extend(log, number, mutant);
        assert_eq!(found, fault, "extension, event {number}, {what}: {}", mutant.0);
    }
}

fn verify_whole(log: &LogBuilder, number: usize, (text, signature): &Mutant) -> String {
    let before = log.events()[..number].iter().map(|event| (event.text(), event.signature()));
    let json = published(before.chain([(text.as_str(), signature)]));
    let identity = match SignedEvent::parse(text, signature.as_str()) {
        Ok(event) if number == 0 => event.event().prefix(),
        _ => log.identity(),
    };
    match KeyLog::verify_json(json.as_bytes(), &Anchor::new(identity), now(log), SKEW) {
        Ok(_) => String::new(),
        Err(LogError::Event { position, source }) => {
            assert_eq!(position, number, "the wrong event is blamed: {text}");
            name(&source)
        }
        // What is no JSON at all spoils the whole array.
        Err(LogError::Malformed(_)) => "Malformed".to_owned(),
        Err(LogError::Element { position, source }) => panic!("element {position}: {source}"),
        Err(other) => panic!("{text}: {other}"),
    }
}

fn extend(log: &LogBuilder, number: usize, (text, signature): &Mutant) -> String {
    let mut shorter = log.rewound_to(number).log();
    let head = shorter.position();
    let refused = match SignedEvent::parse(text, signature.as_str()) {
        Err(fault) => name(&fault),
        Ok(event) => match shorter.extend(event, now(log), SKEW) {
            Ok(_) => return String::new(),
            Err(ExtendError::Event(fault)) => name(&fault),
            Err(ExtendError::Future { .. }) => "Future".to_owned(),
            Err(other) => panic!("{text}: {other}"),
        },
    };
    assert_eq!(shorter.position(), head, "a refused event changed the log");
    refused
}

/// The name of a fault's variant.
fn name(fault: &EventFault) -> String {
    format!("{fault:?}").split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned()
}

#[test]
fn resealed_drafts_and_harmless_changes_are_accepted() {
    let log = log();
    for number in NUMBERS {
        let key = log.key(number);
        let same = draft(&log, number).sealed();
        assert_eq!(same.text(), log.events()[number].text());
        expect("unchanged", &log, number, &same.signed(key), "");
        let other_s = key.sign_other_s(same.text().as_bytes());
        assert_ne!(other_s, *log.events()[number].signature());
        expect("the other s", &log, number, &(same.text(), other_s), "");
        let later = quoted(now(&log).saturating_add(SKEW));
        let later = draft(&log, number).set("createdAt", &later, "").sealed();
        expect("at the edge of the skew", &log, number, &later.signed(key), "");
        let hash = quoted(Digest::of(b"any"));
        let other_hash = draft(&log, number).set("rotationHash", &hash, "").sealed();
        expect("another commitment", &log, number, &other_hash.signed(key), "");
    }
    let tainting = draft(&log, 1).set("taintPrevious", "true", "purpose").sealed();
    expect("tainting", &log, 1, &tainting.signed(log.key(1)), "");
    let sparing = draft(&log, 2).without("taintPrevious").sealed();
    expect("not tainting", &log, 2, &sparing.signed(log.key(2)), "");
}

#[test]
fn every_member_must_be_there_once_in_place_and_of_its_type() {
    let log = log();
    for number in NUMBERS {
        let key = log.key(number);
        let check = |what: &str, draft: Draft, fault: &str| {
            expect(what, &log, number, &draft.sealed().signed(key), fault);
        };
        for member in members(number) {
            let value = draft(&log, number).member(member).to_owned();
            let with = |json: &str| draft(&log, number).set(member, json, "");
            check("repeated", draft(&log, number).repeat(member), "Malformed");
            check("a blank before the value", with(&format!(" {value}")), "NotCanonical");
            check("a line break after it", with(&format!("{value}\n")), "NotCanonical");
            check("an array", with("[]"), "Malformed");
            check("an object", with("{}"), "Malformed");
            check("a float", with("1.5"), "Malformed");
            if member != "rotationHash" {
                check("swapped with the next", draft(&log, number).swapped(member), "NotCanonical");
            }
            if member != "taintPrevious" {
                let fault = if member == "previous" { "PreviousMissing" } else { "Malformed" };
                check("missing", draft(&log, number).without(member), fault);
                check("null", with("null"), fault);
                check("a boolean", with("true"), "Malformed");
            }
            if value.starts_with('"') {
                let escaped = format!("\"\\u{:04x}{}", value.as_bytes()[1], &value[2..]);
                check("escaped", with(&escaped), "Malformed");
                check("a number", with("7"), "Malformed");
                check("an array of it", with(&format!("[{value}]")), "Malformed");
            }
        }
        for before in members(number) {
            let more = draft(&log, number).set("extra", "1", before);
            check("an unknown member", more, "Malformed");
        }
        let text = draft(&log, number).sealed().text();
        for (what, text, fault) in [
            ("a blank at the front", format!("{{ {}", &text[1..]), "NotCanonical"),
            ("an array of an event", format!("[{text}]"), "Malformed"),
        ] {
            let signature = key.sign(text.as_bytes());
            expect(what, &log, number, &(text, signature), fault);
        }
    }
}

#[test]
fn every_text_must_be_the_one_of_its_value() {
    let log = log();
    for number in NUMBERS {
        let key = log.key(number);
        for member in ["id", "prefix", "previous", "rotationHash"] {
            if !members(number).contains(&member) {
                continue;
            }
            let value = draft(&log, number).member(member).trim_matches('"').to_owned();
            for (what, text) in [
                ("too short", value[..43].to_owned()),
                ("too long", format!("{value}A")),
                ("another code", format!("F{}", &value[1..])),
                ("lead bits", format!("E_{}", &value[2..])),
                ("the other alphabet", format!("{}+", &value[..43])),
                ("padding", format!("{}=", &value[..43])),
                ("not ASCII", format!("{}é", &value[..42])),
                ("empty", String::new()),
            ] {
                let mutant = draft(&log, number).set(member, &quoted(text), "");
                let mutant = if member == "id" { mutant } else { mutant.sealed() };
                expect(what, &log, number, &mutant.signed(key), "Encoding");
            }
        }
        let point = draft(&log, number).member("publicKey").trim_matches('"').to_owned();
        for (what, text) in [
            ("too short", point[..47].to_owned()),
            ("too long", format!("{point}A")),
            ("another code", format!("1AAJ{}", &point[4..])),
            ("an Ed25519 key's code", format!("D{}", &point[4..])),
            ("prefix 00", format!("1AAIAA{}", &point[6..])),
            ("prefix 04", format!("1AAIBA{}", &point[6..])),
            ("prefix 05", format!("1AAIBQ{}", &point[6..])),
            ("x beyond the field", format!("1AAIA{}", "_".repeat(43))),
            ("x of no point", format!("1AAIA{}B", "A".repeat(42))),
            ("bad characters", format!("{}!", &point[..47])),
        ] {
            let mutant = draft(&log, number).set("publicKey", &quoted(text), "").sealed();
            expect(what, &log, number, &mutant.signed(key), "Encoding");
        }
        for text in [
            "2026-01-01T03:00:00.000",
            "2026-01-01T03:00:00Z",
            "2026-01-01T03:00:00.00Z",
            "2026-01-01T03:00:00.0000Z",
            "2026-01-01t03:00:00.000Z",
            "2026-01-01T03:00:00.000z",
            "2026-01-01 03:00:00.000Z",
            "2026-01-01T03:00:00,000Z",
            "2026-1-001T03:00:00.000Z",
            "2026-01-01T03:00:00.000+00:00",
            "2026-02-29T03:00:00.000Z",
            "2026-13-01T03:00:00.000Z",
            "2026-00-01T03:00:00.000Z",
            "2026-01-00T03:00:00.000Z",
            "2026-04-31T03:00:00.000Z",
            "2026-01-01T24:00:00.000Z",
            "2026-01-01T03:60:00.000Z",
            "2026-01-01T03:00:60.000Z",
            "0000-01-01T03:00:00.000Z",
            "+026-01-01T03:00:00.000Z",
            "-026-01-01T03:00:00.000Z",
            "٢026-01-01T03:00:00.00Z",
        ] {
            let mutant = draft(&log, number).set("createdAt", &quoted(text), "").sealed();
            expect(text, &log, number, &mutant.signed(key), "CreatedAt");
        }
    }
}

#[test]
fn every_rule_about_values() {
    let log = log();
    let other = quoted(Digest::of(b"other"));
    for number in NUMBERS {
        let key = log.key(number);
        let check = |what: &str, draft: Draft, fault: &str| {
            expect(what, &log, number, &draft.signed(key), fault);
        };
        let set = |member: &str, json: &str| draft(&log, number).set(member, json, "purpose");
        let renamed = set("id", &other);
        check(
            "another id",
            if number == 0 { renamed.set("prefix", &other, "") } else { renamed },
            "Id",
        );
        let after = set("createdAt", &quoted(now(&log)));
        check("a changed event under its old id", after, if number == 3 { "" } else { "Id" });
        for purpose in ["access", "", "Key-authorization", "key-authorization ", "health"] {
            check(purpose, set("purpose", &quoted(purpose)).sealed(), "Purpose");
        }
        for json in ["-1", "-0", "1.0", "1e0", "01", "+1", "\"1\"", "4294967296", "0x1"] {
            check(json, set("sequenceNumber", json).sealed(), "Malformed");
        }
        let large = draft(&log, number.max(1)).set("sequenceNumber", "100000000", "").sealed();
        check("nine digits", large, "SequenceNumberTooLarge");
        for json in ["false", "null"] {
            let fault =
                if number == 0 && json == "false" { "InceptionMembers" } else { "NotCanonical" };
            check("taintPrevious", set("taintPrevious", json).sealed(), fault);
        }
        for json in ["\"true\"", "1", "[true]", "True"] {
            check("taintPrevious", set("taintPrevious", json).sealed(), "Malformed");
        }
        let future = now(&log).saturating_add(SKEW + Duration::from_millis(1));
        check("future", set("createdAt", &quoted(future)).sealed(), "Future");
        if number == 0 {
            let resealed = draft(&log, 0).sealed().set("prefix", &other, "");
            check("another prefix", resealed, "InceptionPrefix");
            check("taint", set("taintPrevious", "true").sealed(), "InceptionMembers");
            let previous = draft(&log, 0).set("previous", &other, "createdAt").sealed();
            check("previous", previous, "InceptionMembers");
            let numbered = draft(&log, 1).set("previous", &other, "").sealed();
            check("a first event 1", numbered, "OutOfOrder");
            continue;
        }
        check("another identity", set("prefix", &other).sealed(), "Prefix");
        check("another previous", set("previous", &other).sealed(), "Previous");
        if number > 1 {
            let skipping = set("previous", &quoted(log.id(number - 2))).sealed();
            check("the one before the previous", skipping, "Previous");
        }
        let skipped = set("sequenceNumber", &(number + 1).to_string()).sealed();
        check("a number skipped", skipped, "OutOfOrder");
        let before = log.events()[number - 1].event().created_at();
        check("not later", set("createdAt", &quoted(before)).sealed(), "NotLater");
        let earlier = before.checked_sub(Duration::from_millis(1)).unwrap();
        check("earlier", set("createdAt", &quoted(earlier)).sealed(), "NotLater");
        let later = before.saturating_add(Duration::from_millis(1));
        check("a millisecond later", set("createdAt", &quoted(later)).sealed(), "");
        let thief = SoftwareKey::from_seed("thief");
        let stolen = set("publicKey", &quoted(thief.public_key())).sealed();
        expect("a key of his own", &log, number, &stolen.signed(&thief), "NotCommitted");
        check("a key of his own, signed by the right one", stolen, "NotCommitted");
        let old = set("publicKey", &quoted(log.key(number - 1).public_key())).sealed();
        let old = old.signed(log.key(number - 1));
        expect("the key before", &log, number, &old, "NotCommitted");
    }
    let repeated = draft(&log, 2).set("sequenceNumber", "1", "").sealed().signed(log.key(2));
    assert_eq!(verify_whole(&log, 2, &repeated), "OutOfOrder", "two events of one number");
    let zero = draft(&log, 2).set("sequenceNumber", "0", "").sealed().signed(log.key(2));
    expect("number 0", &log, 2, &zero, "InceptionMembers");
}

#[test]
fn every_signature_must_be_that_of_the_revealed_key_over_the_text() {
    let log = log();
    for number in NUMBERS {
        let text = log.events()[number].text().to_owned();
        for other in NUMBERS.into_iter().chain([4]).filter(|&other| other != number) {
            let signature = log.key(other).sign(text.as_bytes());
            expect("another generation's", &log, number, &(text.clone(), signature), "Signature");
        }
        let future = quoted(now(&log).saturating_add(SKEW + Duration::from_millis(1)));
        let future = draft(&log, number).set("createdAt", &future, "").sealed();
        let forged = future.signed(log.key((number + 1) % 4));
        expect("another's, from the future", &log, number, &forged, "Signature");
        let signature = log.key(number).sign(format!("{text}\n").as_bytes());
        expect("over another text", &log, number, &(text.clone(), signature), "Signature");
        let good = log.events()[number].signature().as_str();
        for (what, bad) in [
            ("too short", good[..87].to_owned()),
            ("another code", format!("0H{}", &good[2..])),
            ("lead bits", format!("0I_{}", &good[3..])),
            ("r and s zero", format!("0I{}", "A".repeat(86))),
            ("r beyond n", format!("0ID{}{}", "_".repeat(42), &good[45..])),
            ("no base64", format!("{}=", &good[..87])),
        ] {
            let fault = SignedEvent::parse(&text, &bad).unwrap_err();
            assert_eq!(name(&fault), "Encoding", "{what}");
        }
    }
}
