//! Verifying a whole log at once.

use std::collections::{HashMap, hash_map::Entry};
use std::sync::Arc;
use std::time::Duration;

use super::{KeyLog, LogError, State, parallel::try_map, published};
use crate::anchor::Anchor;
use crate::cesr::PublicKey;
use crate::event::{EventFault, SignedEvent};
use crate::time::Timestamp;

impl KeyLog {
    /// Verifies a whole log by every rule of docs/formats.md §2, with all cores for the signatures of a
    /// long one. `now` bounds `createdAt`, `skew` (usually 5 s) later still being acceptable.
    ///
    /// # Errors
    /// [`LogError::Empty`] and [`LogError::Identity`] first; else [`LogError::Event`] with the first
    /// faulty event's first fault; else [`LogError::Rollback`] or [`LogError::Forked`] if the log lacks
    /// what `anchor` remembers.
    pub fn verify(
        events: impl IntoIterator<Item = SignedEvent>,
        anchor: &Anchor,
        now: Timestamp,
        skew: Duration,
    ) -> Result<Self, LogError> {
        let events: Vec<SignedEvent> = events.into_iter().collect();
        let first = events.first().ok_or(LogError::Empty)?.event();
        if first.sequence_number() == 0 && first.prefix() != anchor.identity() {
            return Err(LogError::Identity { expected: anchor.identity(), found: first.prefix() });
        }
        let revealed = check_events(&events, now, skew)?;
        let log = Self::of_verified(events, revealed);
        log.check_contains(anchor)?;
        Ok(log)
    }

    /// Verifies a log in its published form: a JSON array of `{"payload":…,"signature":…}`. Blanks
    /// between elements are tolerated, since nothing there is signed; the events' texts are exact.
    ///
    /// # Errors
    /// As [`verify`](Self::verify), or what is malformed, if no event before it is faulty.
    pub fn verify_json(
        json: &[u8],
        anchor: &Anchor,
        now: Timestamp,
        skew: Duration,
    ) -> Result<Self, LogError> {
        let (events, malformed) = published::parse(json)?;
        match malformed {
            None => Self::verify(events, anchor, now, skew),
            Some(error) if events.is_empty() => Err(error),
            Some(error) => Err(Self::verify_up_to(events, anchor, now, skew).unwrap_or(error)),
        }
    }

    /// The fault of the events before a malformed one, if they have any.
    fn verify_up_to(
        events: Vec<SignedEvent>,
        anchor: &Anchor,
        now: Timestamp,
        skew: Duration,
    ) -> Option<LogError> {
        let anchor = Anchor::new(anchor.identity());
        Self::verify(events, &anchor, now, skew).err()
    }

    fn check_contains(&self, anchor: &Anchor) -> Result<(), LogError> {
        let Some(remembered) = anchor.head() else { return Ok(()) };
        match self.event(remembered.sequence_number) {
            None => Err(LogError::Rollback { remembered, offered: self.position() }),
            Some(event) if event.event().id() != remembered.id => {
                Err(LogError::Forked { remembered, found: event.event().id() })
            }
            Some(_) => Ok(()),
        }
    }

    fn of_verified(events: Vec<SignedEvent>, revealed: HashMap<PublicKey, u32>) -> Self {
        let events: Vec<_> = events.into_iter().map(Arc::new).collect();
        let numbers: HashMap<_, _> = events
            .iter()
            .map(|event| (event.event().id(), event.event().sequence_number()))
            .collect();
        let state = State { events, numbers, revealed, tainted_early: Vec::new() };
        Self { state: Arc::new(state), batches: Arc::default() }
    }
}

/// Finds the first fault in two passes: one over the cheap rules, which also bounds how many
/// signatures matter, then one over these signatures. Returns which event revealed each key.
fn check_events(
    events: &[SignedEvent],
    now: Timestamp,
    skew: Duration,
) -> Result<HashMap<PublicKey, u32>, LogError> {
    let mut fault = None;
    let mut revealed = HashMap::with_capacity(events.len());
    let mut signed = events.len();
    for (position, event) in events.iter().enumerate() {
        let placed = match position.checked_sub(1) {
            Some(before) => event.event().check_follows(events[before].event()),
            None => check_first(event),
        };
        let placed = placed.and_then(|()| reveal(&mut revealed, event));
        if let Err(source) = placed {
            fault = Some(LogError::Event { position, source });
            signed = position;
            break;
        }
        // Last of an event's rules, hence after its signature: the event itself is still checked.
        if let Err(source) = event.check_not_future(now, skew) {
            fault = Some(LogError::Event { position, source });
            signed = position + 1;
            break;
        }
    }
    let (verified, bad) = try_map(&events[..signed], SignedEvent::check_signature);
    match (bad, fault) {
        (Some(source), _) => Err(LogError::Event { position: verified.len(), source }),
        (None, Some(fault)) => Err(fault),
        (None, None) => Ok(revealed),
    }
}

fn check_first(event: &SignedEvent) -> Result<(), EventFault> {
    match event.event().sequence_number() {
        0 => event.event().check_commitment(),
        found => Err(EventFault::OutOfOrder { expected: 0, found }),
    }
}

/// Notes the key of an event, if none before it revealed the same one.
fn reveal(revealed: &mut HashMap<PublicKey, u32>, event: &SignedEvent) -> Result<(), EventFault> {
    let event = event.event();
    match revealed.entry(*event.public_key()) {
        Entry::Occupied(earlier) => Err(EventFault::KeyRevealedBefore { number: *earlier.get() }),
        Entry::Vacant(vacant) => {
            vacant.insert(event.sequence_number());
            Ok(())
        }
    }
}
