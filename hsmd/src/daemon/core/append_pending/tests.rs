//! The decisions without a database, a token or a process.

use hsmd_chain::testing::LogBuilder;

use super::*;
use crate::journal::JournaledEvent;

fn journal(events: &[SignedEvent]) -> Entries {
    let mut earlier: Vec<_> = events.iter().map(|event| JournaledEvent::new(event, None)).collect();
    let event = earlier.pop();
    Entries { begun: None, earlier, event }
}

#[test]
fn the_journals_events_are_appended_as_they_are_exactly_when_the_log_lacks_them() {
    let history = LogBuilder::of_length("pending", 5);
    for (known, first, last) in [(1, 1, 1), (2, 2, 2), (2, 2, 3), (2, 2, 4), (2, 0, 3), (4, 3, 4)] {
        let mut log = history.rewound_to(known).log();
        let found = pending(&journal(&history.events()[first..=last]), &mut log).unwrap();
        let lacking: Vec<_> = history.events()[known..=last].iter().collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), lacking, "{known} {first} {last}");
        assert_eq!(log.head().text(), history.events()[last].text());
    }
    for older in history.events() {
        let mut log = history.log();
        let found = pending(&journal(std::slice::from_ref(older)), &mut log).unwrap();
        assert!(found.is_empty(), "{found:?}");
        assert_eq!(log.events().len(), 5);
    }
    assert!(pending(&Entries::default(), &mut history.log()).unwrap().is_empty());
}

#[test]
fn a_journal_that_contradicts_the_log_ends_it() {
    let history = LogBuilder::of_length("contradiction", 3);
    let head = |history: &LogBuilder| journal(std::slice::from_ref(history.head()));
    let other = history.stolen_at(2, "other").rotate();
    let error = pending(&head(&other), &mut history.log()).unwrap_err();
    assert!(matches!(error, CoreError::Contested(2)), "{error}");

    let mut short = history.rewound_to(1).log();
    let error = pending(&head(&history), &mut short).unwrap_err();
    assert!(matches!(error, CoreError::OlderThanJournal { head: 0, journal: 2 }), "{error}");

    let another = LogBuilder::of_length("another identity", 2);
    let mut log = history.rewound_to(1).log();
    let error = pending(&head(&another), &mut log).unwrap_err();
    assert!(matches!(error, CoreError::JournalEvent { number: 1, .. }), "{error}");
    assert_eq!(log.events().len(), 1, "the log is as it was");
}

#[test]
fn each_event_goes_with_its_own_record_and_the_others_with_one_that_says_so() {
    let (clock, history) = (Clock::start(), LogBuilder::of_length("record", 6));
    let own = |number: usize| AdminRecord {
        at: history.events()[number].event().created_at(),
        action: AdminAction::Taint,
        caller: format!("alice {number}"),
        reason: "stolen".into(),
        request_id: String::new(),
        file_digest: None,
    };
    let journaled = |number| JournaledEvent::new(&history.events()[number], Some(own(number)));
    let journal =
        Entries { earlier: vec![journaled(3)], event: Some(journaled(4)), ..Entries::default() };
    let log = history.log();
    let (mut stored, mut parts) = (1, Vec::new());
    while stored < log.events().len() {
        let (events, record) = next_append(&log, stored, &journal, &clock);
        stored += events.len();
        parts.push((events.len(), record.action, record.caller));
    }
    assert_eq!(
        parts,
        [
            (2, AdminAction::Recovered, "hsmd".to_owned()),
            (1, AdminAction::Taint, "alice 3".into()),
            (1, AdminAction::Taint, "alice 4".into()),
            (1, AdminAction::Recovered, "hsmd".into()),
        ]
    );
}

#[test]
fn keys_move_up_with_the_log() {
    let place = |token, number| Place { token, id: crate::token::keys::id(number).to_vec() };
    for (taint, retire, leftovers) in [
        (false, Retire::Destroy, vec![(place(0, 1), 1)]),
        (false, Retire::Keep, vec![]),
        (true, Retire::Keep, vec![(place(0, 1), 1)]),
    ] {
        let history = LogBuilder::of_length("keys", 2);
        let log = if taint { history.taint() } else { history.rotate() }.log();
        let mut keys = Plan { active: place(0, 1), next: Some(place(0, 2)), leftovers: Vec::new() };
        follow(&mut keys, &log, retire, 1);
        let moved = Plan { active: place(0, 2), next: Some(place(1, 3)), leftovers };
        assert_eq!(keys, moved);
    }
}
