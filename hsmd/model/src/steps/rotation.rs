//! Rotation and taint: `hsmd/src/rotation.rs` and `hsmd/src/core.rs`.

use super::{append, complete_pair, destroy_public, go, make_pair, sign};
use crate::actions::History;
use crate::daemon::{Active, At};
use crate::flaw::Flaw;
use crate::step::Step;
use crate::world::{Entries, State};

impl History {
    pub(super) fn rotation_step(&self, state: &mut State, daemon: usize, step: Step) -> bool {
        let n = state.daemons[daemon].head();
        // Whatever touches what is shared asks the lease first.
        let fenced = self.is_fenced(state, daemon);
        match step {
            Step::Check => self.compare(state, daemon),
            Step::Prove => {
                if !state.daemons[daemon].connected || !self.holds_lock(state, daemon) {
                    state.daemons[daemon].connected = false;
                    return not_done(state, daemon);
                }
                state.daemons[daemon].lease = true;
                go(state, daemon, Step::Begin)
            }
            Step::Begin
            | Step::CopyBegun
            | Step::FindKey
            | Step::DropPrivate
            | Step::Sign
            | Step::CopyEvent
                if fenced =>
            {
                not_done(state, daemon)
            }
            Step::Begin => {
                state.daemons[daemon].entries.begun = Some(n + 1);
                state.disk(daemon).journal = state.daemons[daemon].entries;
                let copied = !self.has(Flaw::BegunInFileOnly);
                go(state, daemon, if copied { Step::CopyBegun } else { Step::FindKey })
            }
            Step::CopyBegun => {
                self.write_copy(state, state.daemons[daemon].entries);
                go(state, daemon, Step::FindKey)
            }
            Step::FindKey => {
                // What an interrupted attempt left is made anew. A key that no journal knows of is not met
                // here: the startup table refuses it.
                state.daemons[daemon].committing = None;
                let none = state.keys.iter().all(|pair| pair.key.number != n + 2);
                go(state, daemon, if none { Step::MakeKey } else { Step::DropPrivate })
            }
            Step::DropPrivate => {
                self.destroy_private(state, n + 2);
                if state.keys.iter().all(|pair| pair.key.number != n + 2 || !pair.private) {
                    return go(state, daemon, Step::DropPublic);
                }
                // The token does not destroy keys: the one that is there is used.
                state.daemons[daemon].committing = complete_pair(state, n + 2);
                match state.daemons[daemon].committing {
                    Some(_) => go(state, daemon, Step::Sign),
                    None => not_done(state, daemon),
                }
            }
            Step::DropPublic => {
                destroy_public(state, n + 2);
                go(state, daemon, Step::MakeKey)
            }
            Step::MakeKey => {
                let key = make_pair(state, n + 2, true);
                state.daemons[daemon].committing = Some(key);
                go(state, daemon, Step::Sign)
            }
            Step::Sign => self.sign_event(state, daemon),
            Step::CopyEvent => {
                if self.bounds.copies {
                    remember(state, daemon);
                }
                self.write_copy(state, state.daemons[daemon].entries);
                let file_first = self.has(Flaw::FileBeforeToken);
                go(state, daemon, if file_first { Step::Insert } else { Step::Journal })
            }
            Step::Journal => {
                // What the token has can't be taken back, without the file neither.
                if fenced && self.bounds.copies {
                    return leave(state, daemon);
                }
                if fenced {
                    return not_done(state, daemon);
                }
                remember(state, daemon);
                state.disk(daemon).journal = state.daemons[daemon].entries;
                let next = match self.flaw {
                    Some(Flaw::FileBeforeToken) => Step::CopyEvent,
                    Some(Flaw::InsertBeforeJournal) => Step::Committed,
                    Some(Flaw::RetireBeforeCommit) => {
                        state.daemons[daemon].leftovers.push(n);
                        Step::RetirePrivate
                    }
                    _ => Step::Insert,
                };
                go(state, daemon, next)
            }
            Step::Insert => {
                if state.daemons[daemon].connected && self.holds_lock(state, daemon) {
                    return go(state, daemon, Step::Commit);
                }
                state.daemons[daemon].connected = false;
                leave(state, daemon)
            }
            Step::Commit => self.commit(state, daemon),
            Step::Committed => {
                let me = &mut state.daemons[daemon];
                me.known += 1;
                if !me.leftovers.contains(&n) {
                    me.leftovers.push(n);
                }
                me.entries.begun = None;
                if !fenced {
                    state.disk(daemon).journal = state.daemons[daemon].entries;
                }
                go(state, daemon, Step::Activate)
            }
            Step::Activate => self.activate(state, daemon),
            Step::ActivateKey => {
                let key = state.log[usize::from(n)].key;
                state.daemons[daemon].active = Some(Active { name: n, key });
                self.go_on_aligning(state, daemon)
            }
            Step::RetirePrivate => {
                self.destroy_private(state, state.daemons[daemon].leftovers[0]);
                if !self.bounds.destroys && self.has(Flaw::WaitsForDestruction) {
                    return leave(state, daemon);
                }
                go(state, daemon, Step::RetirePublic)
            }
            Step::RetirePublic => {
                let number = state.daemons[daemon].leftovers.remove(0);
                destroy_public(state, number);
                if self.has(Flaw::RetireBeforeCommit) && number == n {
                    return go(state, daemon, Step::Insert);
                }
                self.go_on_aligning(state, daemon)
            }
            Step::WaitOutGrace => self.wait_out_grace(state, daemon),
            _ => self.answer(state, daemon),
        }
    }

    /// Step 1, and the release check.
    fn compare(&self, state: &mut State, daemon: usize) -> bool {
        let n = state.daemons[daemon].head();
        let Some(request) = state.daemons[daemon].request else { return leave(state, daemon) };
        let bounded = usize::from(n) + 1 < self.bounds.events;
        if request.expected != n && !(self.has(Flaw::NoExpectation) && bounded) {
            let log = &state.log[..=usize::from(n)];
            let successor = log.get(usize::from(request.expected) + 1);
            let reached = successor.is_some_and(|event| event.taint || !request.taint);
            return if reached { go(state, daemon, Step::Answer) } else { leave(state, daemon) };
        }
        if request.taint && !self.has(Flaw::OpenReleaseCheck) {
            state.daemons[daemon].dead_below = n + 1;
        }
        go(state, daemon, Step::Prove)
    }

    /// Steps 3 and 4.
    fn sign_event(&self, state: &mut State, daemon: usize) -> bool {
        let me = &state.daemons[daemon];
        let head = state.log[usize::from(me.head())];
        let (Some(committing), Some(request)) = (me.committing, me.request) else {
            return not_done(state, daemon);
        };
        if !state.has_private(head.next) {
            return not_done(state, daemon);
        }
        let event = sign(state, head.number + 1, head.next, committing, request.taint);
        state.daemons[daemon].event = Some(event);
        let next = match self.flaw {
            Some(Flaw::InsertBeforeJournal) => Step::Insert,
            Some(Flaw::FileBeforeToken) => Step::Journal,
            _ => Step::CopyEvent,
        };
        go(state, daemon, next)
    }

    fn commit(&self, state: &mut State, daemon: usize) -> bool {
        let me = &state.daemons[daemon];
        let event = me.pending_event().or(me.event);
        if !self.holds_lock(state, daemon) {
            state.daemons[daemon].connected = false;
            return leave(state, daemon);
        }
        if !event.is_some_and(|event| append(state, event)) {
            return leave(state, daemon);
        }
        let journaled = state.daemons[daemon].pending_event().is_some();
        let late = self.has(Flaw::InsertBeforeJournal) && !journaled;
        go(state, daemon, if late { Step::Journal } else { Step::Committed })
    }

    /// Step 7: the token state takes name and key in one.
    fn activate(&self, state: &mut State, daemon: usize) -> bool {
        let head = state.log[usize::from(state.daemons[daemon].head())];
        if state.daemons[daemon].active.map(|active| active.name) != Some(head.number) {
            if !state.has_private(head.key) {
                return leave(state, daemon);
            }
            let before = state.daemons[daemon].active;
            let (name, key) = (head.number, head.key);
            if let (true, Some(before)) = (self.has(Flaw::NameBeforeKey), before) {
                state.daemons[daemon].active = Some(Active { name, key: before.key });
                return go(state, daemon, Step::ActivateKey);
            }
            state.daemons[daemon].active = Some(Active { name, key });
        }
        self.go_on_aligning(state, daemon)
    }

    /// Step 8 for each leftover, and what comes after it.
    fn go_on_aligning(&self, state: &mut State, daemon: usize) -> bool {
        let me = &mut state.daemons[daemon];
        if !me.leftovers.is_empty() {
            return go(state, daemon, Step::RetirePrivate);
        }
        me.serving = true;
        let step = match (me.request, me.event) {
            (None, _) => return leave(state, daemon),
            (Some(_), Some(_)) => Step::Answer,
            (Some(_), None) => Step::Check,
        };
        go(state, daemon, step)
    }

    /// Where the token does not destroy keys, the answer says so: `key_destroyed = false`.
    fn answer(&self, state: &mut State, daemon: usize) -> bool {
        if let Some(request) = state.daemons[daemon].request
            && request.taint
            && self.bounds.destroys
            && state.has_private(state.log[usize::from(request.expected)].key)
        {
            state.blame("Taint has answered and the tainted private key is still there");
        }
        leave(state, daemon)
    }
}

/// From now on the journal in memory holds the event.
fn remember(state: &mut State, daemon: usize) {
    let me = &mut state.daemons[daemon];
    let begun = me.event.map(|event| event.number);
    me.entries = Entries { begun, event: me.event };
}

/// Nothing has changed: a taint that did not happen opens the release check again.
fn not_done(state: &mut State, daemon: usize) -> bool {
    let me = &mut state.daemons[daemon];
    if me.request.is_some_and(|request| request.taint) {
        me.dead_below = me.head();
    }
    leave(state, daemon)
}

/// The call is over, with an error or without a caller; what is left is finished later.
fn leave(state: &mut State, daemon: usize) -> bool {
    let me = &mut state.daemons[daemon];
    (me.request, me.event, me.committing) = (None, None, None);
    if me.serving {
        me.at = At::Idle;
    } else {
        // The start tries the token again until it answers; a key that is gone ends it.
        super::exit(state, daemon);
    }
    true
}
