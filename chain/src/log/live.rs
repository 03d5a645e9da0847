//! Which generations are live: believed at a time, given a look-back window (docs/formats.md §2).

use std::sync::Arc;
use std::time::Duration;

use super::KeyLog;
use crate::cesr::Digest;
use crate::event::SignedEvent;
use crate::time::Timestamp;

/// For how long a generation is live, as far as the log knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// The head: until an event says otherwise.
    Open,
    /// Superseded: up to and including this instant.
    Until(Timestamp),
    /// Tainted: dead, whatever its age.
    Tainted,
}

impl Lifetime {
    /// Whether a generation of this lifetime is live at `at`.
    pub fn is_live(self, at: Timestamp) -> bool {
        match self {
            Self::Open => true,
            Self::Until(last) => at <= last,
            Self::Tainted => false,
        }
    }
}

impl KeyLog {
    /// Whether a generation is live at `at` with look-back `window`. Unknown ones are not.
    pub fn is_live(&self, generation: &Digest, at: Timestamp, window: Duration) -> bool {
        self.stops_being_live(generation, window).is_some_and(|lifetime| lifetime.is_live(at))
    }

    /// The events of all generations live at `at`, newest first. Empty only while the head is
    /// tainted by an event from the future.
    pub fn live(&self, at: Timestamp, window: Duration) -> impl Iterator<Item = &Arc<SignedEvent>> {
        let events = self.events();
        // Times increase strictly: before the first that is too old, all are.
        let recent = events
            .iter()
            .rev()
            .take_while(move |event| at <= event.event().created_at().saturating_add(window))
            .count();
        let oldest = events.len().saturating_sub(recent + 1);
        events[oldest..]
            .iter()
            .rev()
            .filter(move |event| self.is_live(&event.event().id(), at, window))
    }

    /// When a generation stops being live with look-back `window`; `None` if the log has no such
    /// generation.
    pub fn stops_being_live(&self, generation: &Digest, window: Duration) -> Option<Lifetime> {
        let number = self.generation(generation)?.event().sequence_number();
        if self.state.tainted_early.contains(generation) {
            return Some(Lifetime::Tainted);
        }
        let successor = self.event(number + 1).map(|event| event.event());
        Some(match successor {
            None => Lifetime::Open,
            Some(successor) if successor.taint_previous() => Lifetime::Tainted,
            Some(successor) => Lifetime::Until(successor.created_at().saturating_add(window)),
        })
    }
}
