//! The core: everything that can change the history, behind one async mutex.
//!
//! It holds the writer's connection, the journal and the verified log, and knows where the keys are.
//! Its two duties are idempotent, so that whoever finds work left over can simply call them: `append_pending`
//! appends what the journal holds and the log lacks, `activate_head` makes the head's key the active one and
//! clears earlier keys away.

mod error;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hsmd_chain::{Anchor, KeyLog, SignedEvent};
use tokio::sync::watch;

pub use error::CoreError;

use crate::clock::Clock;
use crate::config::{Config, Retire};
use crate::journal::{Entries, Journal, encode};
use crate::keylog::{AdminRecord, AppendError, Backend, KeylogError, Row, Writer, chain};
use crate::signer::{Generation, Signer, TokenState};
use crate::startup::{Place, Plan};
use crate::token::TokenError;

/// The newest verified log, for readers; none before it has been read.
pub type Published = watch::Sender<Option<KeyLog>>;

/// Everything that can change the history.
#[derive(Debug)]
pub struct Core {
    pub(crate) writer: Option<Writer>,
    /// The server process of a connection that was lost: its transaction may not be over.
    pub(crate) lost: Option<Backend>,
    pub(crate) journal: Journal,
    pub(crate) log: KeyLog,
    pub(crate) active: Place,
    pub(crate) next: Option<Place>,
    pub(crate) leftovers: Vec<(Place, u32)>,
    /// The generation that the token has been told to sign with.
    pub(crate) signing: Option<u32>,
    pub(crate) signer: Arc<Signer>,
    pub(crate) published: Published,
    pub(crate) clock: Clock,
    pub(crate) skew: Duration,
    pub(crate) retire: Retire,
}

/// Parses and verifies the rows of the table.
///
/// # Errors
/// What is wrong with them.
pub fn verify_rows(
    rows: &[Row],
    anchor: Option<&Anchor>,
    clock: &Clock,
    skew: Duration,
) -> Result<Option<KeyLog>, CoreError> {
    let events = parse_rows(rows)?;
    let Some(first) = events.first() else { return Ok(None) };
    let own = Anchor::new(first.event().prefix());
    let log = KeyLog::verify(events, anchor.unwrap_or(&own), clock.now()?, skew)?;
    Ok(Some(log))
}

pub(crate) fn parse_rows(rows: &[Row]) -> Result<Vec<SignedEvent>, CoreError> {
    rows.iter()
        .enumerate()
        .map(|(position, row)| {
            SignedEvent::parse(&row.text, &row.signature)
                .map_err(|error| CoreError::Row { position, message: chain(&error) })
        })
        .collect()
}

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
/// They contradict each other.
pub fn pending(
    journal: &Journal,
    log: &mut KeyLog,
    clock: &Clock,
    skew: Duration,
) -> Result<Pending, CoreError> {
    let Some(journaled) = &journal.entries().event else { return Ok(Pending::Nothing) };
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
    log.extend(event.clone(), clock.now()?, skew)
        .map_err(|source| CoreError::JournalEvent { number, source })?;
    Ok(Pending::Event(Box::new(event)))
}

impl Core {
    #[expect(clippy::too_many_arguments, reason = "built once, in start")]
    pub(crate) fn new(
        config: &Config,
        writer: Writer,
        journal: Journal,
        log: KeyLog,
        plan: Plan,
        signer: Arc<Signer>,
        published: Published,
        clock: Clock,
    ) -> Self {
        Self {
            writer: Some(writer),
            lost: None,
            journal,
            log,
            active: plan.active,
            next: plan.next,
            leftovers: plan.leftovers,
            signing: None,
            signer,
            published,
            clock,
            skew: config.clock_skew,
            retire: config.retire,
        }
    }

    /// The verified log.
    pub fn log(&self) -> &KeyLog {
        &self.log
    }

    /// The writer's connection, to be closed at the end.
    pub fn into_writer(self) -> Option<Writer> {
        self.writer
    }

    /// Whether the journal holds an event that is not known to be in the log, or keys are still to be
    /// activated or cleared away.
    pub fn has_unfinished_work(&self) -> bool {
        self.pending_event().is_some()
            || self.signing != Some(self.log.head().event().sequence_number())
            || !self.leftovers.is_empty()
    }

    /// The journal's event that the log lacks.
    pub(crate) fn pending_event(&self) -> Option<SignedEvent> {
        let event = self.journal.entries().event.as_ref()?.parse().ok()?;
        let head = self.log.head().event().sequence_number();
        (event.event().sequence_number() > head).then_some(event)
    }

    /// Appends what the journal holds and the log lacks, as it is.
    ///
    /// # Errors
    /// The database; then it can be called again.
    pub async fn append_pending(&mut self) -> Result<(), CoreError> {
        let Some(event) = self.pending_event() else { return Ok(()) };
        let mut log = self.log.clone();
        pending(&self.journal, &mut log, &self.clock, self.skew)?;
        let record = self
            .journal
            .entries()
            .event
            .as_ref()
            .and_then(|journaled| journaled.record.clone())
            .unwrap_or_else(|| recovered_record(&event, &self.clock));
        self.append(&event, &record).await?;
        self.committed(log)
    }

    /// Inserts an event and its record on the lock's connection.
    pub(crate) async fn append(
        &mut self,
        event: &SignedEvent,
        record: &AdminRecord,
    ) -> Result<(), CoreError> {
        let Some(writer) = &mut self.writer else { return Err(CoreError::Disconnected) };
        let asked = Instant::now();
        match writer.append(std::slice::from_ref(event), record).await {
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

    /// A connection on which something other than the statement itself failed is not used again.
    fn check_connection(&mut self, error: &AppendError) {
        let broken = match error {
            AppendError::Unknown(_) => true,
            AppendError::NotCommitted(error) => error.is_transient(),
        };
        if broken {
            self.disconnect();
        }
    }

    pub(crate) fn disconnect(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.lost = Some(writer.backend().clone());
        }
    }

    /// Takes the log with its new head, tells the readers, and moves the keys' places on.
    pub(crate) fn committed(&mut self, log: KeyLog) -> Result<(), CoreError> {
        crate::crash_point!("rotation::committed");
        let was = self.log.head().event().sequence_number();
        self.log = log;
        self.published.send_replace(Some(self.log.clone()));
        if let Some(next) = self.next.take() {
            let old = std::mem::replace(&mut self.active, next);
            if self.is_to_be_retired(was) {
                self.leftovers.push((old, was));
            }
        }
        let head = self.log.head().event().sequence_number();
        let id = crate::token::keys::id(head + 1).to_vec();
        let token = self.signer.workers().len() - 1;
        self.next = Some(Place { token, id });
        let entries = Entries { begun: None, ..self.journal.entries().clone() };
        // A mark that is left behind the head says nothing; one of the other daemon's must stay.
        match self.check_lease() {
            Ok(()) => self.journal.replace(entries)?,
            Err(_) => self.journal.remember(entries),
        }
        crate::crash_point!("rotation::cleared");
        Ok(())
    }

    /// Proves that the writer's connection still holds the lock; without one nothing is proved.
    pub(crate) async fn prove_lock(&mut self) -> Result<(), KeylogError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let asked = Instant::now();
        let proved = writer.prove_lock().await;
        match &proved {
            Ok(()) => self.signer.release_check().renew_lease(asked),
            Err(_) => self.disconnect(),
        }
        proved
    }

    /// Asked before anything is changed that a standby pair shares: when the proof of the lock has run
    /// out, the other daemon may be at it.
    pub(crate) fn check_lease(&self) -> Result<(), CoreError> {
        if self.signer.release_check().lease_is_valid() {
            Ok(())
        } else {
            Err(CoreError::LeaseExpired)
        }
    }

    /// Changes something on a token, under the same condition, at which the slot looks before each call
    /// that changes anything.
    pub(crate) async fn on_token<T: Send + 'static>(
        &self,
        token: usize,
        work: impl FnOnce(&mut TokenState) -> Result<T, TokenError> + Send + 'static,
    ) -> Result<T, CoreError> {
        match self.signer.workers()[token].run(work).await? {
            Err(TokenError::LeaseExpired) => Err(CoreError::LeaseExpired),
            done => Ok(done?),
        }
    }

    /// Whether the private key of an earlier generation has to go.
    pub(crate) fn is_to_be_retired(&self, number: u32) -> bool {
        let tainted =
            self.log.event(number + 1).is_some_and(|event| event.event().taint_previous());
        tainted || self.retire == Retire::Destroy
    }

    /// Makes the head's key the one that signs, then clears earlier keys away, each confirmed by a
    /// find. Does nothing when that has been done.
    ///
    /// # Errors
    /// The token; then it can be called again.
    pub async fn activate_head(&mut self) -> Result<(), CoreError> {
        let head = Arc::clone(self.log.head());
        let number = head.event().sequence_number();
        if self.signing != Some(number) {
            let generation = Arc::new(Generation::of(head.event()));
            let Place { token, id } = self.active.clone();
            let worker = &self.signer.workers()[token];
            worker.run(move |token_state| token_state.activate(generation, id)).await??;
            let before = self.signer.active_index();
            self.signer.set_active(token);
            if before != token {
                self.signer.workers()[before].run(|token_state| token_state.deactivate()).await?;
            }
            self.signing = Some(number);
            for worker in self.signer.workers() {
                worker.hold(false);
            }
            crate::crash_point!("rotation::activated");
        }
        while let Some((place, number)) = self.leftovers.first().cloned() {
            if self.is_to_be_retired(number) {
                self.on_token(place.token, move |token_state| token_state.destroy(&place.id))
                    .await?;
                tracing::info!(number, "retired the private key of an earlier generation");
                crate::crash_point!("rotation::retired");
            }
            self.leftovers.remove(0);
        }
        Ok(())
    }

    /// Puts a copy of the journal on the token, and says whether it is there: a token without room for
    /// data objects is no error. A second daemon with a state folder of its own knows only this copy.
    pub(crate) async fn copy_to_token(&self, entries: &Entries) -> bool {
        let bytes = encode(entries);
        let token = self.active.token;
        let written =
            self.on_token(token, move |token_state| token_state.write_journal(&bytes)).await;
        if let Err(error) = &written {
            tracing::debug!(error = chain(error), "the token holds no copy of the journal");
        }
        written.is_ok()
    }
}

/// The record of an event whose own was lost with the journal's file.
pub(crate) fn recovered_record(event: &SignedEvent, clock: &Clock) -> AdminRecord {
    use crate::keylog::AdminAction;
    let event = event.event();
    AdminRecord {
        at: clock.now().unwrap_or(event.created_at()),
        action: if event.taint_previous() { AdminAction::Taint } else { AdminAction::Rotate },
        caller: "hsmd".into(),
        reason: "recovered from the token's copy of the journal".into(),
        request_id: String::new(),
        file_digest: None,
    }
}
