//! Following a log: extension, rollback, fork, events from the future, other copies.

use std::sync::Arc;
use std::time::Duration;

use hsmd_chain::log::CatchUpError;
use hsmd_chain::testing::{LogBuilder, at};
use hsmd_chain::{EventFault, ExtendError, Extended, KeyLog, SignedEvent, Timestamp};

const SKEW: Duration = Duration::from_secs(5);
const WINDOW: Duration = Duration::from_secs(12 * 3600);

fn now(log: &LogBuilder) -> Timestamp {
    log.head().event().created_at()
}

fn extend(log: &mut KeyLog, event: &SignedEvent) -> Result<Extended, ExtendError> {
    log.extend(event.clone(), at("2030-01-01T00:00:00.000Z"), SKEW)
}

#[test]
fn events_extend_one_by_one_and_snapshots_stay() {
    let whole = LogBuilder::of_length("follow", 6).taint().rotate();
    let mut log = whole.rewound_to(1).log();
    for number in 1..8 {
        let snapshot = log.clone();
        assert_eq!(extend(&mut log, &whole.events()[number]).unwrap(), Extended::Appended);
        assert_eq!(snapshot.events().len(), number);
        assert_eq!(log.head().event().id(), whole.id(number));
        assert_eq!(log.generation(&whole.id(number)), Some(log.head()));
        assert!(Arc::ptr_eq(&snapshot.events()[0], &log.events()[0]), "events are shared");
    }
    assert_eq!(log.to_json(), whole.to_json());
    assert_eq!(log.anchor(), whole.log().anchor());
}

#[test]
fn the_same_text_under_another_valid_signature_is_the_same_event() {
    let whole = LogBuilder::of_length("known", 4);
    let mut log = whole.log();
    for (number, event) in whole.events().iter().enumerate() {
        assert_eq!(extend(&mut log, event).unwrap(), Extended::Known);
        let other = whole.key(number).sign_other_s(event.text().as_bytes());
        let again = SignedEvent::parse(event.text(), other.as_str()).unwrap();
        assert_eq!(extend(&mut log, &again).unwrap(), Extended::Known);
        let wrong = whole.key(number).sign(b"another text");
        let forged = SignedEvent::parse(event.text(), wrong.as_str()).unwrap();
        let refused = extend(&mut log, &forged);
        assert!(matches!(refused, Err(ExtendError::Event(EventFault::Signature))), "{refused:?}");
    }
    assert_eq!(log.to_json(), whole.to_json(), "the log keeps the signatures that it has");
}

#[test]
fn gaps_and_forgeries_change_nothing() {
    let whole = LogBuilder::of_length("gap", 4);
    let mut log = whole.rewound_to(2).log();
    let gap = extend(&mut log, &whole.events()[3]);
    let Err(ExtendError::Event(EventFault::OutOfOrder { expected: 2, found: 3 })) = gap else {
        panic!("{gap:?}");
    };
    let stranger = LogBuilder::of_length("stranger", 4);
    for event in stranger.events() {
        let refused = extend(&mut log, event);
        assert!(matches!(refused, Err(ExtendError::Event(_))), "not a fork: {refused:?}");
    }
    assert_eq!(log.to_json(), whole.rewound_to(2).to_json());
}

#[test]
fn a_valid_event_in_anothers_place_is_a_proven_fork() {
    let whole = LogBuilder::of_length("fork", 4);
    let fork = whole.stolen_at(2, "thief").rotate();
    let accident = whole.rewound_to(2).append(at("2026-01-01T02:30:00.000Z"), true);
    for branch in [fork, accident] {
        let mut log = whole.log();
        let contested = extend(&mut log, &branch.events()[2]);
        let Err(error @ ExtendError::Forked { .. }) = contested else { panic!("{contested:?}") };
        let words = error.to_string();
        assert!(words.contains(whole.id(2).as_str()) && words.contains(branch.id(2).as_str()));
        assert_eq!(log.to_json(), whole.to_json(), "the log stays on its branch");
    }
}

#[test]
fn an_event_from_the_future_waits_but_its_taint_counts_at_once() {
    let whole = LogBuilder::of_length("future", 3);
    let tainting = whole.clone().taint();
    let later = now(&tainting);
    let early = later.checked_sub(SKEW + Duration::from_millis(1)).unwrap();
    let mut log = whole.log();
    let before = log.clone();
    let head = whole.id(2);
    let refused = log.extend(tainting.head().clone(), early, SKEW);
    let Err(ExtendError::Future { created_at, tainted }) = refused else { panic!("{refused:?}") };
    assert_eq!((created_at, tainted), (later, Some(head)));
    assert_eq!(log.position(), before.position(), "the head is kept");
    assert!(before.is_live(&head, early, WINDOW) && !log.is_live(&head, early, WINDOW));
    let live: Vec<_> = log.live(early, WINDOW).map(|e| e.event().sequence_number()).collect();
    assert_eq!(live, [1, 0]);
    assert!(!log.is_live(&head, Timestamp::MIN, WINDOW), "whatever the time");

    let signed = whole.sign(2, r#"{"purpose":"document"}"#);
    assert!(signed.verify(&before, early, WINDOW).is_ok());
    assert!(signed.verify(&log, early, WINDOW).is_err());

    let again = log.extend(tainting.head().clone(), early, SKEW);
    assert!(matches!(again, Err(ExtendError::Future { .. })));
    let at_last =
        log.extend(tainting.head().clone(), early.saturating_add(Duration::from_millis(1)), SKEW);
    assert_eq!(at_last.unwrap(), Extended::Appended);
    assert!(!log.is_live(&head, later, WINDOW));
    assert!(log.is_live(&tainting.id(3), later, WINDOW));
}

#[test]
fn a_taint_from_the_future_is_not_taken_back_by_a_fork() {
    let whole = LogBuilder::of_length("future fork", 3);
    let tainting = whole.clone().taint();
    let rotating = whole.clone().append(at("2026-01-01T02:00:01.000Z"), false);
    let now = now(&rotating);
    let mut log = whole.log();
    assert!(log.extend(tainting.head().clone(), now, SKEW).is_err());
    assert_eq!(log.extend(rotating.head().clone(), now, SKEW).unwrap(), Extended::Appended);
    assert!(!log.is_live(&whole.id(2), now, WINDOW));
    assert!(log.is_live(&rotating.id(3), now, WINDOW));
}

#[test]
fn a_rotation_from_the_future_taints_nothing_and_neither_does_a_forged_taint() {
    let whole = LogBuilder::of_length("future rotation", 3);
    let early = now(&whole);
    let mut log = whole.log();
    let refused = log.extend(whole.clone().rotate().head().clone(), early, SKEW);
    assert!(matches!(refused, Err(ExtendError::Future { tainted: None, .. })), "{refused:?}");
    let taint = whole.clone().taint();
    let wrong = whole.key(2).sign(taint.head().text().as_bytes());
    let forged = SignedEvent::parse(taint.head().text(), wrong.as_str()).unwrap();
    let refused = log.extend(forged, early, SKEW);
    assert!(matches!(refused, Err(ExtendError::Event(EventFault::Signature))), "{refused:?}");
    assert!(log.is_live(&whole.id(2), early, WINDOW));
}

#[test]
fn another_copy_is_caught_up_with_but_never_rolled_back_to() {
    let whole = LogBuilder::of_length("copy", 6);
    let copy = |length: usize| whole.events()[..length].to_vec();
    let mut log = whole.rewound_to(2).log();
    assert_eq!(log.catch_up(copy(2), now(&whole), SKEW).unwrap(), 0);
    assert_eq!(log.catch_up(copy(6), now(&whole), SKEW).unwrap(), 4);
    assert_eq!(log.to_json(), whole.to_json());
    for length in 0..6 {
        let refused = log.catch_up(copy(length), now(&whole), SKEW);
        assert!(matches!(refused, Err(CatchUpError::Rollback { .. })), "{length}: {refused:?}");
    }
    let fork = whole.stolen_at(4, "thief").rotate().rotate().rotate();
    let refused = log.catch_up(fork.events().to_vec(), now(&fork), SKEW);
    let Err(CatchUpError::Event { position: 4, source: ExtendError::Forked { .. } }) = refused
    else {
        panic!("{refused:?}");
    };
    let mut twice = copy(6);
    twice.insert(3, twice[2].clone());
    let refused = log.catch_up(twice, now(&whole), SKEW);
    assert!(matches!(refused, Err(CatchUpError::Event { position: 3, .. })), "{refused:?}");
    assert_eq!(log.to_json(), whole.to_json());
}

#[test]
fn catching_up_stops_before_the_future_and_honours_its_taint() {
    let whole = LogBuilder::of_length("copy of the future", 3).taint().rotate();
    let mut log = whole.rewound_to(1).log();
    let now = whole.events()[2].event().created_at();
    let refused = log.catch_up(whole.events().to_vec(), now, SKEW);
    let Err(CatchUpError::Event { position: 3, source: ExtendError::Future { tainted, .. } }) =
        refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(tainted, Some(whole.id(2)));
    assert_eq!(log.events().len(), 3);
    assert!(!log.is_live(&whole.id(2), now, WINDOW));
}
