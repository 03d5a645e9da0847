//! What each step does, by room: `init`, the start, rotation, and the care for the connection.

mod care;
mod init;
mod rotation;
mod start;

use crate::actions::History;
use crate::daemon::{At, Daemon};
use crate::flaw::Flaw;
use crate::step::Step;
use crate::world::{Entries, Event, Key, Lock, Pair, State};

impl History {
    /// Takes the next step of a process, if it is not blocked.
    pub(crate) fn step(&self, state: &State, daemon: usize) -> Option<State> {
        let mut next = state.clone();
        let taken = match state.daemons[daemon].at {
            At::Down => false,
            At::Idle => self.maintain(&mut next, daemon),
            At::Next(step) if step <= Step::InitDiscard => self.init_step(&mut next, daemon, step),
            At::Next(step) if step <= Step::Decide => self.start_step(&mut next, daemon, step),
            At::Next(step) => self.rotation_step(&mut next, daemon, step),
        };
        taken.then_some(next)
    }

    pub(crate) fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// Whether the lease, where there is one, keeps this process from touching what is shared.
    fn is_fenced(&self, state: &State, daemon: usize) -> bool {
        self.bounds.standby
            && !state.daemons[daemon].lease
            && !self.has(Flaw::UnfencedRotation)
            && !self.has(Flaw::NoLease)
    }

    /// Takes the writer lock if it is free.
    fn try_lock(&self, state: &mut State, daemon: usize) -> bool {
        if state.lock != Lock::Free && !self.has(Flaw::NoLock) {
            return false;
        }
        state.lock = Lock::Held(daemon);
        state.daemons[daemon].connected = true;
        true
    }

    fn holds_lock(&self, state: &State, daemon: usize) -> bool {
        state.lock == Lock::Held(daemon) || self.has(Flaw::NoLock)
    }

    /// The journal as a start finds it: file and token as one, unless they contradict each other.
    fn read_journal(&self, state: &mut State, daemon: usize) -> Option<Entries> {
        let mut entries = state.disk(daemon).journal;
        let Some(copy) = state.copy else { return Some(entries) };
        match (entries.event, copy.event) {
            (Some(ours), Some(theirs)) if ours.number == theirs.number => {
                if ours.text != theirs.text {
                    return None;
                }
            }
            (ours, theirs) => {
                if ours.map(|event| event.number) < theirs.map(|event| event.number) {
                    entries.event = theirs;
                }
            }
        }
        entries.begun = entries.begun.max(copy.begun);
        Some(entries)
    }

    /// Destroys the private part of the pairs with this number, where the token does that.
    fn destroy_private(&self, state: &mut State, number: u8) {
        for pair in state.keys.iter_mut().filter(|pair| pair.key.number == number) {
            pair.private &= !self.bounds.destroys;
        }
    }

    fn write_copy(&self, state: &mut State, entries: Entries) {
        if self.bounds.copies {
            state.copy = Some(entries);
        }
    }
}

/// Ends a process, and with it its connection.
fn exit(state: &mut State, daemon: usize) {
    if state.lock == Lock::Held(daemon) {
        state.lock = Lock::Free;
    }
    state.daemons[daemon] = Daemon::down();
}

fn go(state: &mut State, daemon: usize, step: Step) -> bool {
    state.daemons[daemon].at = At::Next(step);
    true
}

/// The one complete pair with this number, if there is exactly one.
fn complete_pair(state: &State, number: u8) -> Option<Key> {
    let mut found = state.keys.iter().filter(|pair| pair.key.number == number);
    match (found.next(), found.next()) {
        (Some(Pair { key, private: true }), None) => Some(*key),
        _ => None,
    }
}

fn make_pair(state: &mut State, number: u8, private: bool) -> Key {
    let made = &mut state.made[usize::from(number)];
    let key = Key { number, made: *made };
    *made += 1;
    state.keys.push(Pair { key, private });
    state.keys.sort_unstable_by_key(|pair| pair.key);
    key
}

pub(crate) fn make_incomplete_pair(state: &mut State, number: u8) {
    make_pair(state, number, false);
}

/// What was found together with the private part, and nothing that was made since.
fn destroy_public(state: &mut State, number: u8) {
    state.keys.retain(|pair| pair.key.number != number || pair.private);
}

/// INSERT and COMMIT have both arrived: refused when the number is taken.
pub(crate) fn append(state: &mut State, event: Event) -> bool {
    let fits = usize::from(event.number) == state.log.len();
    if fits {
        state.log.push(event);
    }
    fits
}

/// Signs an event: a text that never was before.
fn sign(state: &mut State, number: u8, key: Key, next: Key, taint: bool) -> Event {
    let text = &mut state.texts[usize::from(number)];
    *text += 1;
    Event { number, text: *text - 1, key, next, taint }
}
