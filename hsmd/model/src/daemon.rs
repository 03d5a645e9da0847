//! What a process knows, and loses when it dies.

use crate::step::Step;
use crate::world::{Entries, Event, Key, Request};

/// Where a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum At {
    /// Not running.
    Down,
    /// About to take this step.
    Next(Step),
    /// Serving, with nothing to do.
    Idle,
}

/// What a signature names and what made it, on its way to the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pending {
    /// The generation that the body names.
    pub name: u8,
}

/// The token state: which generation signs, with which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Active {
    /// The generation.
    pub name: u8,
    /// The key.
    pub key: Key,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Daemon {
    /// Where it is.
    pub at: At,
    /// Whether its phase is Serving: it takes requests, also while it works.
    pub serving: bool,
    /// Whether it believes that it has the writer's connection.
    pub connected: bool,
    /// Whether its newest proof of the lock is younger than `lock_grace`.
    pub lease: bool,
    /// How many events of the log it knows.
    pub known: u8,
    /// The journal in memory.
    pub entries: Entries,
    /// What signs.
    pub active: Option<Active>,
    /// Earlier generations whose keys are still to go.
    pub leftovers: Vec<u8>,
    /// The release check: nothing below may leave.
    pub dead_below: u8,
    /// The request that is being worked on.
    pub request: Option<Request>,
    /// The pair that event n+1 is to commit to, once found or made.
    pub committing: Option<Key>,
    /// The event that has been signed and is not yet committed.
    pub event: Option<Event>,
    /// A signature on its way out.
    pub reply: Option<Pending>,
}

impl Daemon {
    /// A process that does not run.
    pub fn down() -> Self {
        Self {
            at: At::Down,
            serving: false,
            connected: false,
            lease: false,
            known: 0,
            entries: Entries::default(),
            active: None,
            leftovers: Vec::new(),
            dead_below: 0,
            request: None,
            committing: None,
            event: None,
            reply: None,
        }
    }

    /// The number of the head that it knows.
    pub fn head(&self) -> u8 {
        self.known.saturating_sub(1)
    }

    /// The journal's event that the log, as far as known, lacks.
    pub fn pending_event(&self) -> Option<Event> {
        self.entries.event.filter(|event| event.number >= self.known)
    }

    /// Whether something is to be finished.
    pub fn has_unfinished_work(&self) -> bool {
        self.pending_event().is_some()
            || self.active.map(|active| active.name) != Some(self.head())
            || !self.leftovers.is_empty()
    }
}
