//! The observer: outside of every daemon, it remembers every event that anybody ever saw.

use std::collections::BTreeMap;

use hsmd_chain::{Anchor, KeyLog, SignedEvent};
use parking_lot::Mutex;

use crate::now;

/// Collects events and asserts that each number has one id, over all daemons, restarts, databases
/// and ways of reading of one identity. Dropping it fails the test if that was ever untrue.
#[derive(Debug, Default)]
pub struct Observer {
    seen: Mutex<BTreeMap<u32, (SignedEvent, &'static str)>>,
    contested: Mutex<Vec<String>>,
}

impl Observer {
    /// Takes note of an event; `source` says where it was seen.
    pub fn note(&self, source: &'static str, event: SignedEvent) {
        let number = event.event().sequence_number();
        let mut seen = self.seen.lock();
        let (first, first_source) = seen.entry(number).or_insert_with(|| (event.clone(), source));
        // The same text under another valid signature would be the same event.
        if first.text() != event.text() {
            let (first, event) = (first.text(), event.text());
            self.contested.lock().push(format!(
                "event {number} is, by {first_source}, {first}, and, by {source}, {event}"
            ));
        }
    }

    /// Takes note of an event as it travels.
    pub fn note_text(&self, source: &'static str, text: &str, signature: &str) -> SignedEvent {
        let event = SignedEvent::parse(text, signature).expect("an event of canonical form");
        self.note(source, event.clone());
        event
    }

    /// How many events were seen.
    pub fn count(&self) -> usize {
        self.seen.lock().len()
    }

    /// The one history, verified by every rule. Fails the test if there is another.
    #[track_caller]
    pub fn history(&self) -> KeyLog {
        self.assert_one();
        let seen = self.seen.lock();
        let events: Vec<SignedEvent> = seen.values().map(|(event, _)| event.clone()).collect();
        let first = events.first().expect("an event that was seen");
        let anchor = Anchor::new(first.event().prefix());
        KeyLog::verify(events, &anchor, now(), std::time::Duration::from_secs(5))
            .expect("a history that verifies")
    }

    #[track_caller]
    fn assert_one(&self) {
        let contested = self.contested.lock();
        assert!(contested.is_empty(), "two histories: {}", contested.join("; "));
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.assert_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use hsmd_chain::testing::LogBuilder;

    use super::*;

    #[test]
    #[should_panic(expected = "two histories: event 1 is, by one, ")]
    fn two_events_of_one_number_are_seen() {
        let log = LogBuilder::of_length("observer", 3);
        let fork = log.rewound_to(1).taint();
        let observer = Observer::default();
        for event in log.events() {
            observer.note("one", event.clone());
        }
        observer.note("another", fork.events()[1].clone());
        drop(observer);
    }
}
