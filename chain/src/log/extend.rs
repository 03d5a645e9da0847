//! Following a log: one event at a time, or from another copy of it.

use std::sync::Arc;
use std::time::Duration;

use super::{CatchUpError, ExtendError, KeyLog, error::OfferedHead};
use crate::anchor::Head;
use crate::cesr::Digest;
use crate::event::{EventFault, SignedEvent};
use crate::time::Timestamp;

/// What a valid event did to a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extended {
    /// It is the new head.
    Appended,
    /// The log had it already, perhaps under another valid signature.
    Known,
}

impl KeyLog {
    /// Takes the next event, at the cost of one signature check whatever the log's length. An
    /// event that the log has is [`Extended::Known`]; another in its place is a proven fork.
    ///
    /// # Errors
    /// See [`ExtendError`]; only [`Future`](ExtendError::Future) changes the log, by what it says
    /// is tainted.
    pub fn extend(
        &mut self,
        event: SignedEvent,
        now: Timestamp,
        skew: Duration,
    ) -> Result<Extended, ExtendError> {
        if let Some(ours) = self.event(event.event().sequence_number()) {
            return self.compare(ours, event);
        }
        let head = self.head().event();
        event.event().check_follows(head).map_err(ExtendError::Event)?;
        self.check_new_key(&event).map_err(ExtendError::Event)?;
        event.check_signature().map_err(ExtendError::Event)?;
        if event.check_not_future(now, skew).is_err() {
            let tainted = event.event().taint_previous().then(|| head.id());
            tainted.into_iter().for_each(|generation| self.taint_early(generation));
            return Err(ExtendError::Future { created_at: event.event().created_at(), tainted });
        }
        self.append(event);
        Ok(Extended::Appended)
    }

    /// Takes over what another copy of the log has beyond this one and returns how many events that
    /// were. Each new event costs one signature check; the known part costs none.
    ///
    /// # Errors
    /// [`CatchUpError::Rollback`] if the copy ends early; [`CatchUpError::Event`] for its first event
    /// that is neither known nor a valid extension: the events before that one have been taken over.
    pub fn catch_up(
        &mut self,
        copy: impl IntoIterator<Item = SignedEvent>,
        now: Timestamp,
        skew: Duration,
    ) -> Result<usize, CatchUpError> {
        let mut appended = 0;
        let mut offered: Option<Head> = None;
        for (position, event) in copy.into_iter().enumerate() {
            let found = event.event().sequence_number();
            let id = event.event().id();
            let expected = offered.map_or(0, |head| head.sequence_number + 1);
            let extended = if found == expected {
                self.extend(event, now, skew)
            } else {
                Err(ExtendError::Event(EventFault::OutOfOrder { expected, found }))
            };
            match extended.map_err(|source| CatchUpError::Event { position, source })? {
                Extended::Appended => appended += 1,
                Extended::Known => {}
            }
            offered = Some(Head { sequence_number: found, id });
        }
        let known = self.position();
        if offered == Some(known) {
            Ok(appended)
        } else {
            Err(CatchUpError::Rollback { known, offered: OfferedHead(offered) })
        }
    }

    /// Judges an event whose number the log has.
    fn compare(
        &self,
        ours: &Arc<SignedEvent>,
        theirs: SignedEvent,
    ) -> Result<Extended, ExtendError> {
        let same_text = ours.text() == theirs.text();
        if same_text && ours.signature() == theirs.signature() {
            return Ok(Extended::Known);
        }
        // Only what the committed key signed is a fork; anything else is just a bad event.
        if !same_text {
            self.check_in_place(&theirs).map_err(ExtendError::Event)?;
        }
        theirs.check_signature().map_err(ExtendError::Event)?;
        if same_text {
            return Ok(Extended::Known);
        }
        Err(ExtendError::Forked { ours: Arc::clone(ours), theirs: Arc::new(theirs) })
    }

    fn check_in_place(&self, theirs: &SignedEvent) -> Result<(), EventFault> {
        let theirs = theirs.event();
        match theirs.sequence_number().checked_sub(1).and_then(|before| self.event(before)) {
            Some(before) => theirs.check_follows(before.event()),
            None => Err(EventFault::Prefix { expected: self.identity(), found: theirs.prefix() }),
        }
    }

    fn append(&mut self, event: SignedEvent) {
        let state = Arc::make_mut(&mut self.state);
        let number = event.event().sequence_number();
        state.numbers.insert(event.event().id(), number);
        state.revealed.insert(*event.event().public_key(), number);
        state.events.push(Arc::new(event));
    }

    /// Honours what another log of the identity learnt of generations that this one has too.
    pub(crate) fn share_early_taints(&mut self, other: &Self) {
        for generation in &other.state.tainted_early {
            if self.generation(generation).is_some() {
                self.taint_early(*generation);
            }
        }
    }

    fn taint_early(&mut self, generation: Digest) {
        if !self.state.tainted_early.contains(&generation) {
            Arc::make_mut(&mut self.state).tainted_early.push(generation);
        }
    }
}
