//! The policy of the example configuration, as tables.

use std::path::Path;

use super::super::UnixPeer;
use super::*;
use crate::authz::CertificatePeer;

fn policy() -> Policy {
    let example = include_str!("../../../hsmd.example.toml");
    Policy::new(&Config::parse(example, Path::new("hsmd.toml")).unwrap())
}

fn unix(uid: u32, gids: &[u32]) -> Peer {
    Peer::Unix(UnixPeer { uid, gids: gids.to_vec(), pid: None })
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis).unwrap()
}

fn certificate(names: &[&str]) -> Peer {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Peer::Certificate(CertificatePeer { names, not_after: at(1000) })
}

const HOUR: Duration = Duration::from_secs(3600);
const KEYS: &str = "spiffe://example.org/keys";

#[test]
fn callers_get_what_the_example_says_and_nothing_else() {
    let policy = policy();
    let table: [(Peer, [bool; 4]); 10] = [
        // endorse access, endorse response, sign document, read
        (unix(1001, &[1]), [true, true, false, true]),
        (unix(1002, &[1]), [false, true, false, true]),
        (unix(7, &[9, 1003]), [false, false, true, true]),
        (certificate(&["unrelated", KEYS]), [false, false, false, true]),
        (unix(0, &[0]), [false; 4]),
        (unix(OVERFLOW_UID, &[1003]), [false; 4]),
        (unix(4711, &[1001, 1002]), [false; 4]),
        (certificate(&[]), [false; 4]),
        (certificate(&["spiffe://example.org/keys/"]), [false; 4]),
        (Peer::Plaintext, [false; 4]),
    ];
    for (peer, expected) in table {
        let found = [
            policy.endorse(&peer, at(0), "access", HOUR).is_ok(),
            policy.endorse(&peer, at(0), "response", HOUR).is_ok(),
            policy.sign(&peer, at(0), ["document"]).is_ok(),
            policy.read(&peer, at(0)).is_ok(),
        ];
        assert_eq!(found, expected, "{peer:?}");
    }
}

#[test]
fn refusals_say_why() {
    let policy = policy();
    let auth = unix(1001, &[1]);
    let endorse = |purpose: &str, ttl| policy.endorse(&auth, at(0), purpose, ttl).unwrap_err();
    assert!(matches!(endorse("access", 25 * HOUR), Denied::Ttl { .. }));
    assert!(matches!(endorse("health", HOUR), Denied::Reserved(_)));
    assert!(matches!(endorse("key-authorization", HOUR), Denied::Reserved(_)));
    assert!(matches!(endorse("document", HOUR), Denied::WrongKind(..)));
    assert!(matches!(endorse("Access", HOUR), Denied::MalformedPurpose));
    assert!(matches!(endorse("else", HOUR), Denied::Purpose { .. }));
    let sign = |purpose: &str| policy.sign(&auth, at(0), [purpose]).unwrap_err().1;
    assert!(matches!(sign("access"), Denied::WrongKind(..)));
    assert!(matches!(sign("document"), Denied::Purpose { .. }));
    let expired = policy.read(&certificate(&[KEYS]), at(1001)).unwrap_err();
    assert!(matches!(expired, Denied::CertificateExpired(_)));
    assert!(policy.read(&certificate(&[KEYS]), at(1000)).is_ok());
}

#[test]
fn a_rate_is_a_bucket_that_fills_again() {
    let policy = policy();
    let documents = unix(7, &[1003]);
    let batch = |count| policy.sign(&documents, at(0), vec!["document"; count]);
    assert!(batch(200).is_ok(), "the burst");
    let Err((_, Denied::Rate { retry_after, .. })) = batch(200) else {
        panic!("the bucket is empty");
    };
    assert!(retry_after > Duration::ZERO && retry_after <= Duration::from_secs(3));
    assert!(matches!(batch(201), Err((_, Denied::Burst { burst: 200, .. }))), "never fits");
}

#[test]
fn a_caller_without_a_rate_has_the_default_one_and_a_reload_does_not_change_it() {
    let example = include_str!("../../../hsmd.example.toml");
    let parse = |text: &str| Config::parse(text, Path::new("hsmd.toml")).unwrap();
    let few = example.replace("burst = 20000", "burst = 3");
    let policy = Policy::new(&parse(&few));
    let auth = unix(1001, &[1]);
    let endorse = |policy: &Policy| policy.endorse(&auth, at(0), "access", HOUR);
    let refused = std::iter::from_fn(|| Some(endorse(&policy))).take(100).find_map(Result::err);
    assert!(matches!(refused, Some(Denied::Rate { .. })), "{refused:?}");
    let documents = unix(7, &[1003]);
    assert!(policy.sign(&documents, at(0), vec!["document"; 200]).is_ok(), "its own rate");
    assert!(endorse(&Policy::new(&parse(example))).is_ok());
    let renamed = parse(&example.replace("name = \"auth\"", "name = \"login\""));
    let renewed = policy.renewed(&renamed);
    assert!((0..100).any(|_| endorse(&renewed).is_err()), "as before the reload");
}

#[test]
fn a_reload_fills_no_bucket_whose_rate_is_the_same() {
    let example = include_str!("../../../hsmd.example.toml");
    let parse = |text: &str| Config::parse(text, Path::new("hsmd.toml")).unwrap();
    let documents = unix(7, &[1003]);
    let empties = |policy: &Policy| policy.sign(&documents, at(0), vec!["document"; 200]);
    let before = policy();
    empties(&before).unwrap();
    let moved = example.replace("read_log = true\nrate", "read_log = false\nrate");
    assert_ne!(moved, example);
    let same_rate = before.renewed(&parse(&moved));
    assert!(matches!(empties(&same_rate), Err((_, Denied::Rate { .. }))));
    let slower = example.replace("per_second = 100", "per_second = 99");
    empties(&same_rate.renewed(&parse(&slower))).unwrap();
    let renamed = example.replace("name = \"documents\"", "name = \"papers\"");
    empties(&same_rate.renewed(&parse(&renamed))).unwrap();
}

#[test]
fn admins_do_what_they_are_allowed() {
    use AdminAction::{Rotate, Status, Taint};
    let policy = policy();
    let of_a_group = policy.admin(&unix(8, &[1004]), at(0), Status).unwrap();
    assert!(of_a_group.caller().name().contains(" (uid 8"), "{of_a_group:?}");
    let by_uid = policy.admin(&unix(0, &[0]), at(0), Status).unwrap();
    assert!(!by_uid.caller().name().contains("uid"), "{by_uid:?}");
    for (peer, expected) in [
        (unix(0, &[0]), [true, true, true]),
        (unix(8, &[1004]), [true, false, false]),
        (unix(1001, &[1]), [false, false, false]),
        (unix(OVERFLOW_UID, &[1004]), [false, false, false]),
        (certificate(&[KEYS]), [false, false, false]),
        (Peer::Plaintext, [false, false, false]),
    ] {
        let found = [Status, Rotate, Taint].map(|a| policy.admin(&peer, at(0), a).is_ok());
        assert_eq!(found, expected, "{peer:?}");
    }
}
