//! Append pending: the journal's signed event that the log lacks is appended as it is.
//!
//! [`pending`] decides, without any I/O; [`Core::append_pending`] does what it says.

use std::time::{Duration, Instant};

use hsmd_chain::{KeyLog, SignedEvent, Timestamp};

use super::activate_head::is_to_be_retired;
use super::{Core, CoreError};
use crate::clock::Clock;
use crate::config::Retire;
use crate::journal::Entries;
use crate::keylog::{AdminAction, AdminRecord, AppendError};
use crate::startup::{Place, Plan};

/// What the journal's newest event is to a log.
#[derive(Clone, Debug)]
pub enum Pending {
    /// The log has it, or there is none.
    Nothing,
    /// The log lacks it: append it as it is.
    Event(Box<SignedEvent>),
}

/// Compares the journal's newest event with the log. `log` is extended by a pending one.
///
/// # Errors
/// [`CoreError::Contested`], [`CoreError::OlderThanJournal`] or [`CoreError::JournalEvent`]: they
/// contradict each other. [`CoreError::Row`]: the journal holds no event at all.
pub fn pending(
    journal: &Entries,
    log: &mut KeyLog,
    now: Timestamp,
    skew: Duration,
) -> Result<Pending, CoreError> {
    let Some(journaled) = &journal.event else { return Ok(Pending::Nothing) };
    let event = journaled.parse().map_err(|message| CoreError::Row { position: 0, message })?;
    let number = event.event().sequence_number();
    let head = log.head().event().sequence_number();
    if let Some(ours) = log.event(number) {
        return if ours.text() == event.text() {
            Ok(Pending::Nothing)
        } else {
            Err(CoreError::Contested(number))
        };
    }
    if number > head + 1 {
        return Err(CoreError::OlderThanJournal { head, journal: number });
    }
    log.extend(event.clone(), now, skew)
        .map_err(|source| CoreError::JournalEvent { number, source })?;
    Ok(Pending::Event(Box::new(event)))
}

/// The record that goes with a journal's event: its own, or one that says that it was lost with the
/// journal's file.
pub fn record(journal: &Entries, event: &SignedEvent, clock: &Clock) -> AdminRecord {
    let own = journal.event.as_ref().and_then(|journaled| journaled.record.clone());
    own.unwrap_or_else(|| {
        let event = event.event();
        AdminRecord {
            at: clock.now().unwrap_or(event.created_at()),
            action: if event.taint_previous() { AdminAction::Taint } else { AdminAction::Rotate },
            caller: "hsmd".into(),
            reason: "recovered from the token's copy of the journal".into(),
            request_id: String::new(),
            file_digest: None,
        }
    })
}

/// Notes where the keys are once the log has a new head: the committed next key is the active one, and
/// the next one after it was made on `token`.
fn follow(keys: &mut Plan, log: &KeyLog, retire: Retire, token: usize) {
    let head = log.head().event().sequence_number();
    if let Some(next) = keys.next.take() {
        let old = std::mem::replace(&mut keys.active, next);
        if let Some(was) = head.checked_sub(1)
            && is_to_be_retired(log, was, retire)
        {
            keys.leftovers.push((old, was));
        }
    }
    let id = crate::token::keys::id(head + 1).to_vec();
    keys.next = Some(Place { token, id });
}

impl Core {
    /// The journal's event that the log lacks.
    pub fn pending_event(&self) -> Option<SignedEvent> {
        let event = self.journal.entries().event.as_ref()?.parse().ok()?;
        let head = self.log.head().event().sequence_number();
        (event.event().sequence_number() > head).then_some(event)
    }

    /// Appends what the journal holds and the log lacks, as it is.
    ///
    /// # Errors
    /// As [`pending`], or the database; then it can be called again.
    pub async fn append_pending(&mut self) -> Result<(), CoreError> {
        let mut log = self.log.clone();
        let now = self.clock.now()?;
        match pending(self.journal.entries(), &mut log, now, self.skew)? {
            Pending::Nothing => Ok(()),
            Pending::Event(event) => {
                let record = record(self.journal.entries(), &event, &self.clock);
                self.append(&event, &record).await?;
                self.committed(log)
            }
        }
    }

    /// Inserts an event and its record on the lock's connection.
    pub async fn append(
        &mut self,
        event: &SignedEvent,
        record: &AdminRecord,
    ) -> Result<(), CoreError> {
        let Some(writer) = &mut self.writer else { return Err(CoreError::Disconnected) };
        let asked = Instant::now();
        let mut appended = writer.append(std::slice::from_ref(event), record).await;
        if appended.is_ok() {
            // A COMMIT whose wait for the replicas was cancelled succeeds, too.
            appended = writer.confirm().await.map_err(AppendError::Unknown);
        }
        match appended {
            Ok(()) => {
                self.signer.release_check().renew_lease(asked);
                Ok(())
            }
            Err(error) => {
                self.check_connection(&error);
                Err(error.into())
            }
        }
    }

    /// A connection on which more than the statement itself failed is not used again.
    fn check_connection(&mut self, error: &AppendError) {
        let broken = match error {
            AppendError::Unknown(_) => true,
            AppendError::NotCommitted(error) => error.is_transient(),
        };
        if broken {
            self.disconnect();
        }
    }

    /// Takes the log with its new head, publishes it, and notes where the keys now are.
    pub fn committed(&mut self, log: KeyLog) -> Result<(), CoreError> {
        crate::crash_point!("rotation::committed");
        self.log = log;
        self.published.send_replace(Some(self.log.clone()));
        follow(&mut self.keys, &self.log, self.retire, self.signer.workers().len() - 1);
        let entries = Entries { begun: None, ..self.journal.entries().clone() };
        // A mark behind the head means nothing; one of the other daemon must stay.
        match self.check_lease() {
            Ok(()) => self.journal.replace(entries)?,
            Err(_) => self.journal.remember(entries),
        }
        crate::crash_point!("rotation::cleared");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
