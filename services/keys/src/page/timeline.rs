//! The generations, newest first: what each is now at the chosen look-back.

use std::ops::Range;

use hsmd_chain::{Event, Lifetime, Signature, SignedEvent, Timestamp};

use super::{View, filters::length};

/// How many generations one page shows.
const PAGE: usize = 100;

/// A generation as the page shows it.
pub(super) struct Generation<'a> {
    pub(super) event: &'a Event,
    pub(super) signature: &'a Signature,
    pub(super) number: u32,
    pub(super) class: &'static str,
    pub(super) state: &'static str,
    pub(super) end: End,
}

/// How a generation ended, if it has.
pub(super) enum End {
    None,
    /// By an event that lies in the future.
    TaintedAhead,
    Tainted(Timestamp),
    /// Replaced, and for how long it is still live.
    LiveFor(Timestamp, String),
    Replaced(Timestamp),
}

impl View<'_> {
    /// Those of this page.
    pub(super) fn generations(&self) -> impl Iterator<Item = Generation<'_>> {
        self.log.events()[self.shown()].iter().rev().map(|event| self.generation(event))
    }

    /// Where the next page begins, if there are older ones.
    pub(super) fn older(&self) -> Option<usize> {
        Some(self.shown().start).filter(|begin| *begin > 0)
    }

    fn shown(&self) -> Range<usize> {
        let count = self.log.events().len();
        let end = self.before.map_or(count, |before| count.min(before as usize));
        end.saturating_sub(PAGE)..end
    }

    fn generation<'b>(&self, signed: &'b SignedEvent) -> Generation<'b> {
        let event = signed.event();
        let lifetime = self.log.stops_being_live(&event.id(), self.window);
        let live = lifetime.is_some_and(|lifetime| lifetime.is_live(self.now));
        let (class, state) = match (lifetime, live) {
            (Some(Lifetime::Tainted), _) => ("tainted", "tainted"),
            (Some(Lifetime::Open), true) => ("live", "head"),
            (Some(Lifetime::Open), false) => ("past", "head"),
            (_, true) => ("live", "live"),
            (_, false) => ("past", "past"),
        };
        let number = event.sequence_number();
        let end = self.end(number, lifetime);
        Generation { event, signature: signed.signature(), number, class, state, end }
    }

    fn end(&self, number: u32, lifetime: Option<Lifetime>) -> End {
        let Some(successor) = self.log.event(number + 1) else {
            let tainted = lifetime == Some(Lifetime::Tainted);
            return if tainted { End::TaintedAhead } else { End::None };
        };
        let ended = successor.event().created_at();
        match lifetime {
            Some(Lifetime::Tainted) => End::Tainted(ended),
            Some(Lifetime::Until(last)) if self.now <= last => {
                End::LiveFor(ended, length(last.saturating_since(self.now)))
            }
            _ => End::Replaced(ended),
        }
    }
}
