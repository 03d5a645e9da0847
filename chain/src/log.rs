//! The key log: a sequence of events that has been verified, and what can be asked of it.
//!
//! A [`KeyLog`] is the proof that its events verify; only [`KeyLog::verify`] and its kin make one,
//! and only [`KeyLog::extend`] and its kin change one, always to a longer log. It is cheap to
//! clone: snapshots share their events.

mod error;
mod extend;
mod live;
mod parallel;
mod published;
mod verify;

use std::collections::HashMap;
use std::sync::Arc;

pub use error::{CatchUpError, ExtendError, LogError};
pub use extend::Extended;
pub use live::Lifetime;

use crate::anchor::{Anchor, Head};
use crate::batch::VerifiedBatches;
use crate::cesr::{Digest, PublicKey};
use crate::event::{EventFault, SignedEvent};

/// A verified key log. It never holds an event that does not verify and never loses one it has;
/// cloning copies a pointer, so a writer can publish snapshots freely.
#[derive(Debug, Clone)]
pub struct KeyLog {
    state: Arc<State>,
    /// Shared by all snapshots: whether a signature verifies does not depend on the log.
    batches: Arc<VerifiedBatches>,
}

#[derive(Debug, Clone)]
struct State {
    /// In sequence order, number and index being the same; never empty.
    events: Vec<Arc<SignedEvent>>,
    /// The sequence number of each event id.
    numbers: HashMap<Digest, u32>,
    /// The sequence number of the event that revealed each key.
    revealed: HashMap<PublicKey, u32>,
    /// Generations tainted by a valid event whose `createdAt` was still in the future when it came.
    /// Never forgotten: that event was signed by the committed key, whatever comes after.
    tainted_early: Vec<Digest>,
}

impl KeyLog {
    /// The newest event.
    pub fn head(&self) -> &Arc<SignedEvent> {
        &self.state.events[self.state.events.len() - 1]
    }

    /// All events; the index is the sequence number.
    pub fn events(&self) -> &[Arc<SignedEvent>] {
        &self.state.events
    }

    /// The identity: the id of event 0.
    pub fn identity(&self) -> Digest {
        self.head().event().prefix()
    }

    /// The identity with the head, for a reader to remember across restarts.
    pub fn anchor(&self) -> Anchor {
        Anchor::with_head(self.identity(), self.position())
    }

    /// The head's number and id.
    pub fn position(&self) -> Head {
        let head = self.head().event();
        Head { sequence_number: head.sequence_number(), id: head.id() }
    }

    /// The event that reveals a generation, whether or not that is live.
    pub fn generation(&self, id: &Digest) -> Option<&Arc<SignedEvent>> {
        self.state.numbers.get(id).and_then(|&number| self.event(number))
    }

    /// The event of a number.
    pub fn event(&self, sequence_number: u32) -> Option<&Arc<SignedEvent>> {
        self.state.events.get(usize::try_from(sequence_number).ok()?)
    }

    /// The batches whose signatures were verified.
    pub(crate) fn batches(&self) -> &VerifiedBatches {
        &self.batches
    }

    /// Checks that no event of the log revealed the key of a new one.
    fn check_new_key(&self, event: &SignedEvent) -> Result<(), EventFault> {
        match self.state.revealed.get(event.event().public_key()) {
            Some(&number) => Err(EventFault::KeyRevealedBefore { number }),
            None => Ok(()),
        }
    }

    /// Whether the log has this event, with this number.
    pub fn contains(&self, head: &Head) -> bool {
        self.state.numbers.get(&head.id) == Some(&head.sequence_number)
    }
}
