//! Append pending: what the journal or the log holds and the database lacks is appended as it is.
//!
//! [`pending`] decides, without any I/O; [`Core::append_pending`] does what it says.

use std::time::Instant;

use hsmd_chain::{KeyLog, SignedEvent};
use hsmd_support::chain;

use super::activate_head::is_to_be_retired;
use super::{Core, CoreError};
use crate::clock::Clock;
use crate::config::Retire;
use crate::journal::{Entries, LogFile};
use crate::keylog::{AdminAction, AdminRecord, AppendError, KeylogError};
use crate::startup::{Place, Plan};

/// Extends the log by the journal's events that it lacks, and returns these. They are the journal's own:
/// accepted whatever the clock says.
///
/// # Errors
/// [`CoreError::Contested`], [`CoreError::OlderThanJournal`] or [`CoreError::JournalEvent`]: they
/// contradict each other. [`CoreError::Row`]: the journal holds no event at all.
pub fn pending(journal: &Entries, log: &mut KeyLog) -> Result<Vec<SignedEvent>, CoreError> {
    let mut lacking = Vec::new();
    let mut longer = log.clone();
    for journaled in journal.events() {
        let event = journaled.parse().map_err(|message| CoreError::Row { position: 0, message })?;
        let number = event.event().sequence_number();
        let head = longer.head().event().sequence_number();
        match longer.event(number) {
            Some(ours) if ours.text() == event.text() => continue,
            Some(_) => return Err(CoreError::Contested(number)),
            None if number > head + 1 => {
                return Err(CoreError::OlderThanJournal { head, journal: number });
            }
            None => {}
        }
        longer
            .extend(event.clone(), event.event().created_at(), std::time::Duration::ZERO)
            .map_err(|source| CoreError::JournalEvent { number, source })?;
        lacking.push(event);
    }
    *log = longer;
    Ok(lacking)
}

/// What is to be appended next to a database that has `stored` events: an event with the record that the
/// journal has of it, or all up to the next such event, with one record that says so.
pub fn next_append(
    log: &KeyLog,
    stored: usize,
    journal: &Entries,
    clock: &Clock,
) -> (Vec<SignedEvent>, AdminRecord) {
    let lacking = log.events().iter().skip(stored).map(|event| SignedEvent::clone(event));
    let own = |event: &SignedEvent| journal.record(event.event().sequence_number()).cloned();
    let mut events: Vec<SignedEvent> = Vec::new();
    for event in lacking {
        match own(&event) {
            Some(record) if events.is_empty() => return (vec![event], record),
            Some(_) => break,
            None => events.push(event),
        }
    }
    let record = AdminRecord {
        at: clock.now().unwrap_or(log.head().event().created_at()),
        action: AdminAction::Recovered,
        caller: "hsmd".into(),
        reason: format!(
            "the database lacked these events, which this daemon knows: {}",
            events.len()
        ),
        request_id: String::new(),
        file_digest: None,
    };
    (events, record)
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

/// Adds a log's new events to the file in `state_dir`. The journal, the token or the database has them, too:
/// without the file everything goes on.
pub fn keep(file: &mut LogFile, log: &KeyLog) {
    if let Err(error) = file.extend(log) {
        tracing::error!(error = chain(&error), "the log in state_dir is not the newest");
    }
}

impl Core {
    /// The number of the first event that is not known to be in the database.
    pub fn first_pending(&self) -> Option<u32> {
        let journaled = self.journal.entries().number();
        let known = journaled.map_or(0, |number| number as usize + 1).max(self.log.events().len());
        (self.stored < known).then_some(self.stored as u32)
    }

    /// Appends what the database lacks, as it is and in order.
    ///
    /// # Errors
    /// As [`pending`], or the database; then it can be called again.
    pub async fn append_pending(&mut self) -> Result<(), CoreError> {
        let mut log = self.log.clone();
        pending(self.journal.entries(), &mut log)?;
        while self.stored < log.events().len() {
            let (events, record) =
                next_append(&log, self.stored, self.journal.entries(), &self.clock);
            self.append(&events, &record).await?;
            self.committed(&log, self.stored + events.len())?;
        }
        Ok(())
    }

    /// Inserts events and their record on the lock's connection.
    async fn append(
        &mut self,
        events: &[SignedEvent],
        record: &AdminRecord,
    ) -> Result<(), CoreError> {
        if self.writer.is_none() {
            return Err(CoreError::Disconnected);
        }
        // The token has the event; if another daemon has claimed the token since, it goes on from there.
        self.on_token(self.keys.active.token, |token_state| token_state.look()).await?;
        let Some(writer) = &mut self.writer else { return Err(CoreError::Disconnected) };
        let asked = Instant::now();
        let appending = async {
            writer.append(events, record).await?;
            // A COMMIT whose wait for the replicas was cancelled succeeds, too.
            writer.confirm().await.map_err(AppendError::Unknown)
        };
        let appended = self.taints.unless_late(appending).await;
        match appended.unwrap_or(Err(AppendError::Unknown(KeylogError::GivenUp))) {
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
    pub fn take(&mut self, log: KeyLog) {
        self.log = log;
        keep(&mut self.log_file, &self.log);
        self.published.send_replace(Some(self.log.clone()));
        follow(&mut self.keys, &self.log, self.retire, self.signer.workers().len() - 1);
    }

    /// Notes that so many events of the log are in the database.
    pub fn committed(&mut self, log: &KeyLog, stored: usize) -> Result<(), CoreError> {
        crate::crash_point!("rotation::committed");
        if stored > self.log.events().len() {
            self.take(log.clone());
        }
        self.stored = stored;
        self.publish_lasting();
        let entries = self.journal.entries().after_storing(stored as u32);
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
