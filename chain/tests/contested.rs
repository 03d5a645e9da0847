//! Contested histories: what decides between two logs of one identity, and what cannot.

use std::time::Duration;

use hsmd_chain::reconcile::Decision;
use hsmd_chain::testing::LogBuilder;
use hsmd_chain::{Anchor, KeyLog, ReconcileError, Reconciled, Timestamp, reconcile};

fn trunk() -> LogBuilder {
    LogBuilder::of_length("trunk", 4)
}

fn soon(log: &LogBuilder, millis: u64) -> Timestamp {
    log.head().event().created_at().saturating_add(Duration::from_millis(millis))
}

/// Another event 3 with the trunk's keys: the same commitment, another time.
fn accident() -> LogBuilder {
    let before = trunk().rewound_to(3);
    let at = soon(&before, 7);
    before.append(at, false)
}

/// Another event 3 that commits to a thief's key.
fn theft() -> LogBuilder {
    trunk().stolen_at(3, "thief").rotate()
}

fn append(log: LogBuilder, millis: u64) -> LogBuilder {
    let at = soon(&log, millis);
    log.append(at, false)
}

/// Reconciles in every order of two and asserts that the order does not matter.
fn both(anchor: &Anchor, one: &LogBuilder, two: &LogBuilder) -> Result<Reconciled, ReconcileError> {
    let forth = reconcile(anchor, &[one.log(), two.log()]);
    let back = reconcile(anchor, &[two.log(), one.log()]);
    match (&forth, &back) {
        (Ok(forth), Ok(back)) => assert_eq!(forth.log.to_json(), back.log.to_json()),
        (Err(forth), Err(back)) => {
            assert_eq!(std::mem::discriminant(forth), std::mem::discriminant(back));
        }
        _ => assert_eq!(forth.is_ok(), back.is_ok()),
    }
    forth
}

#[test]
fn logs_that_differ_in_length_only_are_no_contest() {
    let log = trunk();
    let agreed = both(&log.anchor(), &log, &log.rewound_to(2)).unwrap();
    assert_eq!(agreed.log.to_json(), log.to_json());
    assert!(agreed.contests.is_empty());
    let alone = reconcile(&log.anchor(), &[log.log()]).unwrap();
    assert_eq!(alone.log.to_json(), log.to_json());
    let none = reconcile(&log.anchor(), &[]);
    assert!(matches!(none, Err(ReconcileError::NoLogs)));
    let stranger = LogBuilder::new("stranger");
    let refused = reconcile(&log.anchor(), &[log.log(), stranger.log()]);
    assert!(matches!(refused, Err(ReconcileError::Identity { .. })));
}

#[test]
fn after_an_accident_the_committed_key_decides() {
    let (one, two) = (trunk(), accident());
    assert_eq!(one.events()[3].event().rotation_hash(), two.events()[3].event().rotation_hash());
    let undecided = both(&one.anchor(), &one, &two).unwrap_err();
    let words = undecided.to_string();
    assert!(words.contains(one.id(3).as_str()) && words.contains(two.id(3).as_str()), "{words}");
    assert!(matches!(undecided, ReconcileError::Undecided { .. }));
    for (kept, refused) in [(&one, &two), (&two, &one)] {
        let longer = kept.clone().rotate();
        let decided = both(&one.anchor(), &longer, refused).unwrap();
        assert_eq!(decided.log.to_json(), longer.to_json());
        let [contest] = &decided.contests[..] else { panic!("{:?}", decided.contests) };
        assert_eq!(contest.kept.event().id(), kept.id(3));
        assert_eq!(contest.refused.event().id(), refused.id(3));
        assert_eq!(contest.decided_by, Decision::Commitment { successor: longer.id(4) });
    }
}

#[test]
fn an_accident_on_an_accident_is_decided_by_the_number_after() {
    let (one, two) = (append(trunk(), 1), append(accident(), 2));
    let undecided = both(&one.anchor(), &one, &two).unwrap_err();
    assert!(matches!(undecided, ReconcileError::Undecided { .. }));
    let longer = two.rotate();
    let decided = both(&one.anchor(), &one, &longer).unwrap();
    assert_eq!(decided.log.to_json(), longer.to_json());
}

#[test]
fn different_commitments_cannot_be_decided_however_long_the_logs() {
    for (one, two) in [
        (trunk(), theft()),
        (trunk().rotate(), theft()),
        (trunk(), theft().rotate().rotate()),
        (trunk().rotate().taint(), theft().rotate()),
        // The same commitment at number 3, different ones at number 4.
        (trunk().rotate().rotate(), accident().stolen_at(4, "late thief").rotate()),
    ] {
        let refused = both(&one.anchor(), &one, &two).unwrap_err();
        let ReconcileError::Forked { left, right } = &refused else { panic!("{refused}") };
        let number = left.event().sequence_number() as usize;
        assert_eq!(left.event().sequence_number(), right.event().sequence_number());
        assert_ne!(left.event().rotation_hash(), right.event().rotation_hash());
        let words = refused.to_string();
        assert!(words.contains(one.id(number).as_str()) && words.contains(two.id(number).as_str()));
    }
}

#[test]
fn a_reader_that_remembers_a_head_stays_on_its_branch_and_hears_of_the_fork() {
    let rivals: [fn() -> LogBuilder; 4] = [
        theft,
        || theft().rotate().rotate(),
        accident,
        // Even where the committed key decides for the other branch.
        || accident().rotate(),
    ];
    for rival in rivals {
        let (ours, theirs) = (trunk(), rival());
        let anchor = ours.log().anchor();
        let stayed = both(&anchor, &ours, &theirs).unwrap();
        assert_eq!(stayed.log.to_json(), ours.to_json());
        let [contest] = &stayed.contests[..] else { panic!("{:?}", stayed.contests) };
        assert_eq!(contest.kept.event().id(), ours.id(3));
        assert_eq!(contest.refused.event().id(), theirs.id(3));
        assert_eq!(contest.decided_by, Decision::RememberedHead);

        let refused = reconcile(&anchor, &[theirs.log()]).unwrap_err();
        assert!(matches!(refused, ReconcileError::HeadForked { .. }), "{refused}");
    }
}

#[test]
fn a_remembered_head_before_the_contest_decides_nothing() {
    let before = trunk().rewound_to(3).log().anchor();
    assert!(matches!(both(&before, &trunk(), &theft()), Err(ReconcileError::Forked { .. })));
    assert!(matches!(both(&before, &trunk(), &accident()), Err(ReconcileError::Undecided { .. })));
    assert!(both(&before, &trunk(), &accident().rotate()).is_ok());
}

#[test]
fn logs_that_end_before_the_remembered_head_are_a_rollback() {
    let ours = trunk();
    let older = ours.rewound_to(3);
    let refused = both(&ours.log().anchor(), &older, &ours.rewound_to(2)).unwrap_err();
    let ReconcileError::Rollback { remembered, offered } = refused else { panic!("{refused}") };
    assert_eq!((remembered, offered), (ours.log().position(), older.log().position()));
    let lagging = both(&ours.log().anchor(), &ours, &older).unwrap();
    assert!(lagging.contests.is_empty());
}

#[test]
fn of_many_sources_one_that_decides_is_enough() {
    let logs: Vec<KeyLog> = [trunk(), accident(), trunk().rewound_to(2), accident().rotate()]
        .iter()
        .map(LogBuilder::log)
        .collect();
    for turn in 0..logs.len() {
        let mut turned = logs.clone();
        turned.rotate_left(turn);
        let decided = reconcile(&trunk().anchor(), &turned).unwrap();
        assert_eq!(decided.log.to_json(), accident().rotate().to_json());
        assert_eq!(decided.contests.len(), 1);
        turned.push(theft().log());
        assert!(matches!(
            reconcile(&trunk().anchor(), &turned),
            Err(ReconcileError::Forked { .. })
        ));
    }
}

#[test]
fn a_taint_from_the_future_that_one_source_knows_of_counts() {
    let (ours, now) = (trunk(), soon(&trunk(), 0));
    let mut warned = ours.log();
    let taint = ours.clone().taint().head().clone();
    assert!(warned.extend(taint, now, Duration::ZERO).is_err());
    for logs in [[ours.log(), warned.clone()], [warned, ours.log()]] {
        let log = reconcile(&ours.anchor(), &logs).unwrap().log;
        assert!(!log.is_live(&ours.id(3), now, Duration::ZERO));
    }
}
