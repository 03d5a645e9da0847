//! The decisions without a database, a token or a process.

use hsmd_chain::testing::LogBuilder;

use super::*;
use crate::journal::JournaledEvent;

const SKEW: Duration = Duration::from_secs(5);

fn journal(event: &SignedEvent) -> Entries {
    Entries { begun: None, event: Some(JournaledEvent::new(event, None)) }
}

/// At the instant of the newest event.
fn compare(
    journal: &Entries,
    log: &mut KeyLog,
    history: &LogBuilder,
) -> Result<Pending, CoreError> {
    pending(journal, log, history.head().event().created_at(), SKEW)
}

#[test]
fn the_journals_event_is_appended_as_it_is_exactly_when_the_log_lacks_it() {
    let history = LogBuilder::of_length("pending", 4);
    for known in 1..=3 {
        let mut log = history.rewound_to(known).log();
        let before = log.events().len();
        let found = compare(&journal(&history.events()[known]), &mut log, &history).unwrap();
        let Pending::Event(event) = found else { panic!("{found:?}") };
        assert_eq!(event.text(), history.events()[known].text());
        assert_eq!(log.head().text(), event.text());
        assert_eq!(log.events().len(), before + 1);
    }
    for older in history.events() {
        let mut log = history.log();
        let found = compare(&journal(older), &mut log, &history).unwrap();
        assert!(matches!(found, Pending::Nothing), "{found:?}");
        assert_eq!(log.events().len(), 4);
    }
    let nothing = compare(&Entries::default(), &mut history.log(), &history).unwrap();
    assert!(matches!(nothing, Pending::Nothing));
}

#[test]
fn a_journal_that_contradicts_the_log_ends_it() {
    let history = LogBuilder::of_length("contradiction", 3);
    let other = history.stolen_at(2, "other").rotate();
    let error = compare(&journal(other.head()), &mut history.log(), &history).unwrap_err();
    assert!(matches!(error, CoreError::Contested(2)), "{error}");

    let mut short = history.rewound_to(1).log();
    let error = compare(&journal(history.head()), &mut short, &history).unwrap_err();
    assert!(matches!(error, CoreError::OlderThanJournal { head: 0, journal: 2 }), "{error}");

    let another = LogBuilder::of_length("another identity", 2);
    let mut log = history.rewound_to(1).log();
    let error = compare(&journal(another.head()), &mut log, &history).unwrap_err();
    assert!(matches!(error, CoreError::JournalEvent { number: 1, .. }), "{error}");
    assert_eq!(log.events().len(), 1, "the log is as it was");
}

#[test]
fn a_record_is_the_journals_own_or_says_that_it_was_lost() {
    let clock = Clock::start();
    for (history, action) in [
        (LogBuilder::new("record").rotate(), AdminAction::Rotate),
        (LogBuilder::new("record").taint(), AdminAction::Taint),
    ] {
        let lost = record(&journal(history.head()), history.head(), &clock);
        assert_eq!((lost.action, lost.caller.as_str()), (action, "hsmd"));
        let own = AdminRecord { caller: "alice".into(), ..lost };
        let event = JournaledEvent::new(history.head(), Some(own.clone()));
        let kept = Entries { begun: None, event: Some(event) };
        assert_eq!(record(&kept, history.head(), &clock), own);
    }
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
