//! The journal: what must survive a crash before it is in Postgres.
//!
//! One file an identity in `state_dir` (and, where the token holds data objects, a copy there): the
//! rotation that has begun, and every signed event that is not known to be in the database, each with the
//! admin record that goes with it; the newest one stays when it is. A signed event's text is never made a
//! second time: an event found here is appended as it is.
//! Before there is an identity, `init.json` holds the intent.

mod log_file;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use hsmd_chain::{Digest, SignedEvent};
use serde::{Deserialize, Serialize};

pub use log_file::LogFile;

use crate::keylog::AdminRecord;
use hsmd_support::durable;

/// What the journal holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entries {
    /// The number of the event whose rotation has begun: key `begun + 1` may be on the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<u32>,
    /// Signed events before the newest one that are not known to be in the database, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<JournaledEvent>,
    /// The newest signed event, in the log or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<JournaledEvent>,
}

/// A signed event and the record of the action that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournaledEvent {
    /// The event's exact text.
    pub text: String,
    /// Its signature.
    pub signature: String,
    /// Who made it; none where an import or `init` left the event as a mark of how far the log is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<AdminRecord>,
}

/// The journal of one identity, or of the identity that `init` is making.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    entries: Entries,
}

/// Why the journal can't be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file can't be read.
    #[error("cannot read the journal {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The file can't be written; nothing has changed.
    #[error("cannot write the journal {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The file is damaged.
    #[error("the journal {path} is damaged: {message}")]
    Damaged { path: PathBuf, message: String },
}

impl Entries {
    /// All signed events, oldest first.
    pub fn events(&self) -> impl Iterator<Item = &JournaledEvent> {
        self.earlier.iter().chain(&self.event)
    }

    /// These entries with one more event, which is the newest.
    #[must_use]
    pub fn with(&self, event: JournaledEvent, begun: u32, stored: u32) -> Self {
        let is_pending = |earlier: &&JournaledEvent| earlier.number().is_some_and(|n| n >= stored);
        let earlier = self.events().filter(is_pending).cloned().collect();
        Self { begun: Some(begun), earlier, event: Some(event) }
    }

    /// What is left of these entries once the events below this number are in the database.
    #[must_use]
    pub fn after_storing(&self, stored: u32) -> Self {
        let is_pending = |earlier: &&JournaledEvent| earlier.number().is_some_and(|n| n >= stored);
        let earlier = self.earlier.iter().filter(is_pending).cloned().collect();
        Self { begun: None, earlier, event: self.event.clone() }
    }

    /// The record that goes with the event of this number.
    pub fn record(&self, number: u32) -> Option<&AdminRecord> {
        let event = self.events().find(|event| event.number() == Some(number))?;
        event.record.as_ref()
    }

    /// Whether these know more than others do, where the log ends at `head`: another daemon has begun or
    /// signed something since.
    pub fn are_ahead_of(&self, others: &Self, head: u32) -> bool {
        self.number() > others.number() || self.begun > others.begun.max(Some(head))
    }

    /// The number of the newest event.
    pub fn number(&self) -> Option<u32> {
        self.event.as_ref()?.number()
    }

    /// The number of the oldest event.
    pub fn first_number(&self) -> Option<u32> {
        self.events().next()?.number()
    }
}

impl JournaledEvent {
    /// A signed event with its record.
    pub fn new(event: &SignedEvent, record: Option<AdminRecord>) -> Self {
        Self { text: event.text().to_owned(), signature: event.signature().to_string(), record }
    }

    /// The event, well-formed but not verified against any log.
    ///
    /// # Errors
    /// What is wrong with the text or the signature.
    pub fn parse(&self) -> Result<SignedEvent, String> {
        SignedEvent::parse(&self.text, &self.signature).map_err(|e| e.to_string())
    }

    fn number(&self) -> Option<u32> {
        Some(self.parse().ok()?.event().sequence_number())
    }
}

impl Journal {
    /// The journal of an identity; empty when there is none yet.
    ///
    /// # Errors
    /// [`JournalError::Read`], [`JournalError::Damaged`].
    pub fn open(state_dir: &Path, identity: &Digest) -> Result<Self, JournalError> {
        Self::at(state_dir.join(format!("{identity}.json")))
    }

    /// The intent of `init`, if there is one.
    ///
    /// # Errors
    /// [`JournalError::Read`], [`JournalError::Damaged`].
    pub fn intent(state_dir: &Path) -> Result<Option<Self>, JournalError> {
        let path = intent_path(state_dir);
        match path.try_exists() {
            Ok(true) => Self::at(path).map(Some),
            Ok(false) => Ok(None),
            Err(source) => Err(JournalError::Read { path, source }),
        }
    }

    /// Notes the intent to make a new identity.
    ///
    /// # Errors
    /// [`JournalError::Write`].
    pub fn note_intent(state_dir: &Path) -> Result<Self, JournalError> {
        let mut journal = Self { path: intent_path(state_dir), entries: Entries::default() };
        journal.replace(Entries { begun: Some(0), ..Entries::default() })?;
        Ok(journal)
    }

    fn at(path: PathBuf) -> Result<Self, JournalError> {
        let entries = match std::fs::read(&path) {
            Ok(bytes) => decode(&bytes)
                .map_err(|message| JournalError::Damaged { path: path.clone(), message })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Entries::default(),
            Err(source) => return Err(JournalError::Read { path, source }),
        };
        Ok(Self { path, entries })
    }

    /// What it holds.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// Adds what a copy on the token knows and this one doesn't: the file may have been lost.
    ///
    /// # Errors
    /// Both hold an event of the same number, and not the same one: the number.
    pub fn merge(&mut self, other: Entries) -> Result<(), u32> {
        let mut events: BTreeMap<u32, JournaledEvent> = BTreeMap::new();
        let theirs = other.earlier.into_iter().chain(other.event);
        for event in self.entries.events().cloned().chain(theirs) {
            let Some(number) = event.number() else { continue };
            match events.entry(number) {
                Entry::Occupied(known) if known.get().text != event.text => return Err(number),
                Entry::Occupied(mut known) => {
                    let record = &mut known.get_mut().record;
                    *record = record.take().or(event.record);
                }
                Entry::Vacant(place) => drop(place.insert(event)),
            }
        }
        self.entries.event = events.pop_last().map(|(_, newest)| newest);
        self.entries.earlier = events.into_values().collect();
        self.entries.begun = self.entries.begun.max(other.begun);
        Ok(())
    }

    /// Replaces what it holds, durably.
    ///
    /// # Errors
    /// [`JournalError::Write`]; then nothing has changed.
    pub fn replace(&mut self, entries: Entries) -> Result<(), JournalError> {
        durable::write(&self.path, &encode(&entries))
            .map_err(|source| JournalError::Write { path: self.path.clone(), source })?;
        self.entries = entries;
        Ok(())
    }

    /// Takes entries that are safe elsewhere, without writing them.
    pub fn remember(&mut self, entries: Entries) {
        self.entries = entries;
    }

    /// Removes the file: the intent of `init` has been carried out.
    ///
    /// # Errors
    /// [`JournalError::Write`].
    pub fn discard(self) -> Result<(), JournalError> {
        durable::remove(&self.path)
            .map_err(|source| JournalError::Write { path: self.path, source })
    }
}

/// The journal's bytes, as in the file and on the token.
pub fn encode(entries: &Entries) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "strings and numbers always serialise")]
    serde_json::to_vec(entries).expect("journal entries serialise")
}

/// Reads the journal's bytes.
///
/// # Errors
/// What is wrong with them.
pub fn decode(bytes: &[u8]) -> Result<Entries, String> {
    let entries: Entries = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    let mut before = None;
    for event in entries.events() {
        let number = Some(event.parse()?.event().sequence_number());
        if before >= number {
            return Err("its events are not in order".into());
        }
        before = number;
    }
    Ok(entries)
}

fn intent_path(state_dir: &Path) -> PathBuf {
    state_dir.join("init.json")
}

#[cfg(test)]
mod tests {
    use hsmd_chain::testing::LogBuilder;

    use super::*;

    fn of(history: &LogBuilder, numbers: &[usize], begun: Option<u32>) -> Entries {
        let event = |number: &usize| JournaledEvent::new(&history.events()[*number], None);
        let mut earlier: Vec<_> = numbers.iter().map(event).collect();
        let event = earlier.pop();
        Entries { begun, earlier, event }
    }

    fn numbers(entries: &Entries) -> Vec<u32> {
        entries.events().filter_map(JournaledEvent::number).collect()
    }

    #[test]
    fn every_event_that_is_not_in_the_database_is_kept() {
        let history = LogBuilder::of_length("journal", 5);
        let event = |number: usize| JournaledEvent::new(&history.events()[number], None);
        let one = of(&history, &[1], None);
        assert_eq!(numbers(&one.with(event(2), 2, 2)), [2], "event 1 is in the database");
        let two = one.with(event(2), 2, 1);
        assert_eq!((numbers(&two), two.begun), (vec![1, 2], Some(2)));
        let three = two.with(event(3), 3, 1);
        assert_eq!(numbers(&three), [1, 2, 3]);
        assert_eq!(numbers(&three.after_storing(3)), [3]);
        assert_eq!(numbers(&three.after_storing(4)), [3], "the newest one stays as a mark");
        assert_eq!(three.after_storing(4).begun, None);
        assert_eq!(decode(&encode(&three)).unwrap(), three);
    }

    #[test]
    fn file_and_copy_become_one() {
        let history = LogBuilder::of_length("merge", 5);
        let merged = |ours: &[usize], theirs: &[usize]| {
            let path = PathBuf::from("/nowhere");
            let mut journal = Journal { path, entries: of(&history, ours, Some(1)) };
            journal.merge(of(&history, theirs, Some(2))).unwrap();
            assert_eq!(journal.entries.begun, Some(2));
            numbers(&journal.entries)
        };
        assert_eq!(merged(&[], &[]), [0u32; 0]);
        assert_eq!(merged(&[1], &[]), [1]);
        assert_eq!(merged(&[], &[1, 2]), [1, 2]);
        assert_eq!(merged(&[1], &[1, 2]), [1, 2]);
        assert_eq!(merged(&[2, 3], &[1, 2]), [1, 2, 3]);

        let fork = history.rewound_to(2).taint();
        let path = PathBuf::from("/nowhere");
        let mut journal = Journal { path, entries: of(&history, &[1, 2], None) };
        assert_eq!(journal.merge(of(&fork, &[1, 2], None)), Err(2));
    }

    #[test]
    fn events_out_of_order_are_damage() {
        let history = LogBuilder::of_length("order", 3);
        for wrong in [&[2, 1][..], &[1, 1]] {
            assert!(decode(&encode(&of(&history, wrong, None))).is_err(), "{wrong:?}");
        }
    }
}
