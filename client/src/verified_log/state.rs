//! What a followed log knows, shared between the follower that changes it and those who ask.

use std::sync::Arc;
use std::time::Duration;

use hsmd_chain::log::CatchUpError;
use hsmd_chain::{
    Anchor, EventFault, Extended, Freshness, HeadError, HeadStatement, KeyLog, LogError,
    SignedEvent, Timestamp, VerifiedHead,
};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::error::Fault;
use super::{CheckError, LogOptions, Problem, TerminalError, store};

/// The log and the state of the following.
#[derive(Debug)]
pub(super) struct Shared {
    anchor: Anchor,
    pub(super) options: LogOptions,
    /// The verified log: the only place where it grows.
    log: watch::Sender<Option<KeyLog>>,
    contact: watch::Sender<Contact>,
    /// The newest statement about the head.
    statement: watch::Sender<Option<(HeadStatement, VerifiedHead)>>,
    /// Wakes a polling follower.
    pub(super) poke: Notify,
}

/// What is known about the source.
#[derive(Clone, Debug, Default)]
struct Contact {
    /// When the source last showed our head as its own.
    last: Option<Instant>,
    /// Since when the source has been behind us.
    behind_since: Option<Instant>,
    /// Whether the log has grown since it was last written to its file.
    unsaved: bool,
    problem: Option<Arc<Problem>>,
    terminal: Option<Arc<TerminalError>>,
}

impl Shared {
    pub(super) fn new(anchor: Anchor, options: LogOptions, stored: Option<KeyLog>) -> Self {
        Self {
            anchor,
            options,
            log: watch::Sender::new(stored),
            contact: watch::Sender::new(Contact::default()),
            statement: watch::Sender::new(None),
            poke: Notify::new(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.options.clock.now()
    }

    pub(super) fn snapshot(&self) -> Option<KeyLog> {
        self.log.borrow().clone()
    }

    pub(super) fn changes(&self) -> watch::Receiver<Option<KeyLog>> {
        self.log.subscribe()
    }

    pub(super) fn problem(&self) -> Option<Arc<Problem>> {
        self.contact.borrow().problem.clone()
    }

    pub(super) fn terminal_error(&self) -> Option<Arc<TerminalError>> {
        self.contact.borrow().terminal.clone()
    }

    /// The log, if the source has confirmed it recently enough.
    pub(super) fn fresh(&self) -> Result<KeyLog, CheckError> {
        let (since, error) = {
            let contact = self.contact.borrow();
            (contact.last.map(|last| last.elapsed()), contact.terminal.clone())
        };
        // Read after the contact: the log is at least as new as what was confirmed.
        match (since, self.snapshot(), error) {
            (Some(since), Some(log), _) if since < self.options.max_staleness => Ok(log),
            (_, _, Some(error)) => Err(CheckError::Terminal(error)),
            (since, _, None) => Err(CheckError::Stale { since }),
        }
    }

    pub(super) async fn ready(&self) -> Result<KeyLog, Arc<TerminalError>> {
        let mut contact = self.contact.subscribe();
        loop {
            if let Some(error) = &contact.borrow_and_update().terminal {
                return Err(Arc::clone(error));
            }
            if let Ok(log) = self.fresh() {
                return Ok(log);
            }
            self.changed(&mut contact).await;
        }
    }

    pub(super) async fn wait_terminal_error(&self) -> Arc<TerminalError> {
        let mut contact = self.contact.subscribe();
        loop {
            if let Some(error) = &contact.borrow_and_update().terminal {
                return Arc::clone(error);
            }
            self.changed(&mut contact).await;
        }
    }

    async fn changed(&self, contact: &mut watch::Receiver<Contact>) {
        if contact.changed().await.is_err() {
            // Can't be: we hold the sender.
            std::future::pending::<()>().await;
        }
    }

    /// Takes a whole log at the first contact.
    pub(super) fn adopt(&self, mut events: Vec<SignedEvent>) -> Result<(), Fault> {
        let verify = |events: Vec<SignedEvent>| {
            KeyLog::verify(events, &self.anchor, self.now(), self.options.clock_skew)
        };
        let mut rest = None;
        let log = match verify(events.clone()) {
            // What comes before the event from the future is good, and its taint counts.
            Err(LogError::Event { position, source: EventFault::Future { .. } })
                if position > 0 && self.reaches_anchor(position) =>
            {
                rest = events.drain(position..).next();
                verify(events)
            }
            whole => whole,
        };
        self.log.send_replace(Some(log.map_err(Fault::of_first_contact)?));
        self.contact.send_if_modified(|contact| {
            contact.unsaved = true;
            false
        });
        rest.map_or(Ok(()), |event| self.extend(event))
    }

    fn reaches_anchor(&self, length: usize) -> bool {
        let needed = self.anchor.head().map_or(0, |head| head.sequence_number);
        usize::try_from(needed).is_ok_and(|needed| needed < length)
    }

    /// Takes the next event, or recognises one that is known.
    pub(super) fn extend(&self, event: SignedEvent) -> Result<(), Fault> {
        self.grow(|log, now| {
            let extended = log.extend(event, now, self.options.clock_skew);
            extended.map(|extended| extended == Extended::Appended).map_err(Fault::of_event)
        })
    }

    /// Takes what a complete copy has beyond our log.
    pub(super) fn catch_up(&self, events: Vec<SignedEvent>) -> Result<(), Fault> {
        self.grow(|log, now| match log.catch_up(events, now, self.options.clock_skew) {
            Ok(appended) => Ok(appended > 0),
            Err(CatchUpError::Rollback { known, .. }) => {
                Err(Problem::Behind { head_sequence: known.sequence_number }.into())
            }
            Err(CatchUpError::Event { source, .. }) => Err(Fault::of_event(source)),
        })
    }

    /// Changes the log and tells watchers if that moved the head or killed it.
    fn grow(
        &self,
        change: impl FnOnce(&mut KeyLog, Timestamp) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        let now = self.now();
        let mut result = Ok(());
        let changed = self.log.send_if_modified(|log| {
            let Some(log) = log else { return false };
            let before = (log.position(), head_is_live(log, now));
            result = change(log, now).map(drop);
            before != (log.position(), head_is_live(log, now))
        });
        if changed {
            self.contact.send_if_modified(|contact| {
                contact.unsaved = true;
                false
            });
        }
        result
    }

    /// The feed, which is authenticated, ended so. If only our clock is why its last event was not taken, that
    /// is contact: the feed is not frozen.
    pub(super) fn feed_ended(&self, fault: &Fault) {
        if fault.is_of_the_future() && self.check_anchor().is_ok() {
            self.contact.send_modify(|contact| contact.last = Some(Instant::now()));
        }
    }

    /// The source, which is authenticated, has shown our head as its own.
    pub(super) fn confirmed(&self) -> Result<(), Fault> {
        self.confirmed_ago(Duration::ZERO)
    }

    /// Keeps a statement that verifies, for those who ask for it, and tells how old it is.
    pub(super) fn keep_statement(&self, statement: HeadStatement) -> Result<Duration, HeadError> {
        let now = self.now();
        // Without a log there is nothing to confirm.
        let Some(log) = self.snapshot() else { return Ok(Duration::MAX) };
        let known = self.statement.borrow().clone().filter(|(kept, _)| *kept == statement);
        let verified = match known {
            Some((_, verified)) => {
                verified.recheck(&log, now, self.freshness())?;
                verified
            }
            None => statement.verify(&log, now, self.freshness())?,
        };
        let issued_at = verified.issued_at();
        self.statement.send_if_modified(|kept| {
            // A copy that lags must not take the place of a newer one.
            let newer = kept.as_ref().is_none_or(|(kept, _)| kept.issued_at() < issued_at);
            if newer {
                *kept = Some((statement, verified));
            }
            newer
        });
        Ok(now.saturating_since(issued_at))
    }

    /// The newest statement, if it still shows that our head is the head.
    pub(super) fn statement(&self) -> Option<HeadStatement> {
        let (statement, verified) = self.statement.borrow().clone()?;
        let log = self.snapshot()?;
        verified.recheck(&log, self.now(), self.freshness()).is_ok().then_some(statement)
    }

    fn freshness(&self) -> Freshness {
        let LogOptions { max_staleness, clock_skew: skew, .. } = self.options;
        Freshness { max_staleness, skew }
    }

    /// The head's own key said so long ago that ours is the head. A source that is not trusted may
    /// show a statement late, so what counts is when it was made.
    pub(super) fn confirmed_ago(&self, age: Duration) -> Result<(), Fault> {
        self.check_anchor()?;
        self.contact.send_modify(|contact| {
            // A machine that has run for less than the age has no such instant.
            contact.last = Instant::now().checked_sub(age).max(contact.last);
            contact.behind_since = None;
            contact.problem = None;
        });
        Ok(())
    }

    /// A kept log may end before the anchor's event: no contact counts until that is there.
    fn check_anchor(&self) -> Result<(), Fault> {
        let Some(remembered) = self.anchor.head() else { return Ok(()) };
        let head_sequence = remembered.sequence_number;
        let log = self.snapshot();
        let found = log.as_ref().and_then(|log| log.event(head_sequence));
        let found = found.ok_or(Problem::Behind { head_sequence })?.event().id();
        if found == remembered.id {
            Ok(())
        } else {
            Err(TerminalError::Anchor(LogError::Forked { remembered, found }).into())
        }
    }

    /// Notes why an attempt failed. True if the following ends with it.
    pub(super) fn failed(&self, fault: Fault) -> bool {
        match fault {
            Fault::Terminal(error) => self.end(error),
            Fault::Passing(Problem::Behind { head_sequence }) => {
                let since = self.behind_since();
                if since >= self.options.rollback_grace {
                    return self.end(TerminalError::RolledBack { head_sequence });
                }
                self.note(Problem::Behind { head_sequence });
                false
            }
            Fault::Passing(problem) => {
                self.note(problem);
                false
            }
        }
    }

    fn behind_since(&self) -> Duration {
        let mut since = Duration::ZERO;
        self.contact.send_if_modified(|contact| {
            since = contact.behind_since.get_or_insert_with(Instant::now).elapsed();
            false
        });
        since
    }

    fn end(&self, error: TerminalError) -> bool {
        tracing::error!(%error, "the key log is no longer followed");
        self.contact.send_modify(|contact| contact.terminal = Some(Arc::new(error)));
        true
    }

    /// Keeps in mind why the source can't be reached or believed just now.
    pub(super) fn note(&self, problem: Problem) {
        let cause = std::error::Error::source(&problem).map(tracing::field::display);
        let known = self.problem().is_some_and(|known| known.to_string() == problem.to_string());
        if known {
            tracing::debug!(%problem, cause, "following the key log");
        } else {
            tracing::warn!(%problem, cause, "following the key log");
        }
        self.contact.send_modify(|contact| contact.problem = Some(Arc::new(problem)));
    }

    /// Writes the log to its file if it has grown. A failure is a passing problem: the log in
    /// memory is right, and the next contact tries again.
    pub(super) async fn save(&self) {
        let Some(path) = self.options.path.clone() else { return };
        if !self.contact.borrow().unsaved {
            return;
        }
        let Some(log) = self.snapshot() else { return };
        let target = path.clone();
        let saved = tokio::task::spawn_blocking(move || store::save(&target, &log)).await;
        match saved.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(()) => {
                self.contact.send_if_modified(|contact| {
                    contact.unsaved = false;
                    false
                });
            }
            Err(source) => self.note(Problem::Store { path, source }),
        }
    }
}

fn head_is_live(log: &KeyLog, now: Timestamp) -> bool {
    log.is_live(&log.position().id, now, Duration::ZERO)
}
