//! The journal: what must survive a crash before it is in Postgres.
//!
//! One file an identity in `state_dir` (and, where the token holds data objects, a copy there): the
//! rotation that has begun, and the newest signed event with the admin record that goes with it. A
//! signed event's text is never made a second time: an event found here is appended as it is.
//! Before there is an identity, `init.json` holds the intent.

use std::path::{Path, PathBuf};

use hsmd_chain::{Digest, SignedEvent};
use serde::{Deserialize, Serialize};

use crate::keylog::AdminRecord;
use hsmd_support::durable;

/// What the journal holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entries {
    /// The number of the event whose rotation has begun: key `begun + 1` may be on the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<u32>,
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
        /// The file.
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The file can't be written; nothing has changed.
    #[error("cannot write the journal {path}")]
    Write {
        /// The file.
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The file is damaged.
    #[error("the journal {path} is damaged: {message}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        message: String,
    },
}

impl Entries {
    /// Whether these know more than others do, where the log ends at `head`: another daemon has begun or
    /// signed something since.
    pub fn are_ahead_of(&self, others: &Self, head: u32) -> bool {
        self.number() > others.number() || self.begun > others.begun.max(Some(head))
    }

    fn number(&self) -> Option<u32> {
        let event = self.event.as_ref()?.parse().ok()?;
        Some(event.event().sequence_number())
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
}

impl Journal {
    /// The journal of an identity; empty when there is none yet.
    ///
    /// # Errors
    /// The file is unreadable or damaged.
    pub fn open(state_dir: &Path, identity: &Digest) -> Result<Self, JournalError> {
        Self::at(state_dir.join(format!("{identity}.json")))
    }

    /// The intent of `init`, if there is one.
    ///
    /// # Errors
    /// The file is unreadable or damaged.
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
    /// The file can't be written.
    pub fn note_intent(state_dir: &Path) -> Result<Self, JournalError> {
        let mut journal = Self { path: intent_path(state_dir), entries: Entries::default() };
        journal.replace(Entries { begun: Some(0), event: None })?;
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
        let parse =
            |event: &Option<JournaledEvent>| event.as_ref().and_then(|event| event.parse().ok());
        let number = |event: &SignedEvent| event.event().sequence_number();
        match (parse(&self.entries.event), parse(&other.event)) {
            (Some(ours), Some(theirs)) if number(&ours) == number(&theirs) => {
                if ours.text() != theirs.text() {
                    return Err(number(&ours));
                }
            }
            (ours, theirs) => {
                if ours.as_ref().map(number) < theirs.as_ref().map(number) {
                    self.entries.event = other.event;
                }
            }
        }
        self.entries.begun = self.entries.begun.max(other.begun);
        Ok(())
    }

    /// Replaces what it holds, durably.
    ///
    /// # Errors
    /// The file can't be written; then nothing has changed.
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
    /// The file can't be removed.
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
    if let Some(event) = &entries.event {
        event.parse()?;
    }
    Ok(entries)
}

fn intent_path(state_dir: &Path) -> PathBuf {
    state_dir.join("init.json")
}
