//! What an owner does: looks, rotations, taints with a database and without, the release.

use super::actions::{Ownership, end};
use super::flaw::Flaw;
use super::start::go;
use super::state::{At, Daemon, Event, State};

impl Ownership {
    pub(super) fn work_step(&self, state: &mut State, me: usize, at: At) -> bool {
        match at {
            At::Idle => {
                let pending = state.daemons[me].stored < state.daemons[me].log.len();
                pending && go(state, me, At::CommitLook)
            }
            At::SignLook => self.look_in_a_job(state, me, At::SignEvent),
            At::SignEvent => {
                let number = state.daemons[me].log.len();
                let text = state.texts[number];
                state.texts[number] += 1;
                let daemon = &mut state.daemons[me];
                let taint = daemon.request == Some(true);
                let number = number as u8;
                daemon.event = Some(Event { number, text, taint });
                if !self.bounds.journaled {
                    state.folders[me].begun = Some(number);
                    state.change(me, |token| token.private |= 1 << (number + 1));
                }
                let early = self.has(Flaw::CommitBeforeRecord) && !taint;
                go(state, me, if early { At::CommitLook } else { At::RecordLook })
            }
            At::RecordLook if self.has(Flaw::NoLookBeforeTheRecord) => {
                go(state, me, At::RecordMake)
            }
            At::RecordLook => self.look_in_a_job(state, me, At::RecordMake),
            At::RecordMake if self.has(Flaw::DestroyBeforeMake) => {
                state.change(me, |token| token.records[me] = None);
                go(state, me, At::RecordRemake)
            }
            At::RecordMake if !self.bounds.journaled => go(state, me, At::Journal),
            At::RecordMake | At::RecordRemake => self.record(state, me),
            At::Journal => self.journal(state, me),
            At::CommitLook if state.daemons[me].alone => go(state, me, At::DestroyLook),
            At::CommitLook => {
                if self.look_is_good(state, me) {
                    go(state, me, At::Commit)
                } else {
                    leave(state, me)
                }
            }
            At::Commit => self.commit(state, me),
            At::DestroyLook => self.look_in_a_job(state, me, At::Destroy),
            At::Destroy => {
                let old = state.daemons[me].head() - 1;
                if self.bounds.destroys {
                    state.change(me, |token| token.private &= !(1 << old));
                }
                go(state, me, At::Answer)
            }
            _ => self.answer(state, me),
        }
    }

    /// Whether an event that is shown has a predecessor whose key is still to be destroyed.
    pub(super) fn has_key_left(&self, daemon: &Daemon) -> bool {
        let head = daemon.head();
        let is_shown = daemon.published == daemon.log.len();
        let is_left = |old: u8| daemon.view.private & (1 << old) != 0;
        self.bounds.destroys && is_shown && head.checked_sub(1).is_some_and(is_left)
    }

    /// A look, and what it says of the lease.
    fn look_is_good(&self, state: &mut State, me: usize) -> bool {
        state.look(me);
        let superseded = self.is_superseded(state, me) && !self.has(Flaw::GoOnBesideAHigherEpoch);
        let daemon = &mut state.daemons[me];
        (daemon.shut, daemon.lease) = (superseded, !superseded);
        !superseded
    }

    /// Rule 2: in one job with the change or the signature that follows. Without a good look nothing
    /// follows.
    fn look_in_a_job(&self, state: &mut State, me: usize, then: At) -> bool {
        if self.look_is_good(state, me) { go(state, me, then) } else { leave(state, me) }
    }

    pub(super) fn look_while_idle(&self, state: &mut State, me: usize) {
        self.look_is_good(state, me);
        if state.daemons[me].view.records[me].is_none() && !state.daemons[me].shut {
            end(state, me);
        }
    }

    /// The record holds the event, and all that are not known to be in the database.
    fn record(&self, state: &mut State, me: usize) -> bool {
        let events = self.kept(state, me);
        let epoch = state.daemons[me].epoch;
        let record = super::state::Record { epoch, released: false, events };
        state.change(me, |token| token.records[me] = Some(record.clone()));
        let committed = state.daemons[me].event.is_none();
        go(state, me, if committed { At::DestroyLook } else { At::Journal })
    }

    fn kept(&self, state: &State, me: usize) -> Vec<Event> {
        let daemon = &state.daemons[me];
        let pending = daemon.log[daemon.stored..].iter();
        let all: Vec<Event> = pending.chain(daemon.event.as_ref()).copied().collect();
        match all.last() {
            None => daemon.log.last().copied().into_iter().collect(),
            Some(newest) if self.has(Flaw::OnlyTheNewestPending) => vec![*newest],
            Some(_) => all,
        }
    }

    /// The file follows; a taint is published from here on.
    fn journal(&self, state: &mut State, me: usize) -> bool {
        state.folders[me].events = self.kept(state, me);
        let daemon = &mut state.daemons[me];
        daemon.log.extend(daemon.event.take());
        if daemon.request == Some(true) {
            daemon.published = daemon.log.len();
            self.keep_log(state, me);
        }
        go(state, me, At::CommitLook)
    }

    fn commit(&self, state: &mut State, me: usize) -> bool {
        let early = state.daemons[me].event;
        let log: Vec<Event> = state.daemons[me].log.iter().copied().chain(early).collect();
        let database = state.database(me);
        if database.lock != Some(me) || !log.starts_with(&database.log) {
            return leave(state, me);
        }
        database.log.clone_from(&log);
        let daemon = &mut state.daemons[me];
        daemon.event = None;
        (daemon.stored, daemon.published, daemon.log) = (log.len(), log.len(), log);
        self.keep_log(state, me);
        if early.is_some() {
            return go(state, me, At::RecordLook);
        }
        if state.daemons[me].request.is_none() {
            return leave(state, me);
        }
        go(state, me, At::DestroyLook)
    }

    /// The database is away: a taint goes on without it.
    pub(super) fn stay_pending(&self, state: &mut State, me: usize) {
        if state.daemons[me].request == Some(true) {
            go(state, me, At::DestroyLook);
        } else {
            leave(state, me);
        }
    }

    fn answer(&self, state: &mut State, me: usize) -> bool {
        if state.daemons[me].request == Some(true) {
            state.answered |= 1 << (state.daemons[me].head() - 1);
        }
        leave(state, me)
    }

    /// Rule 8.
    pub(super) fn release(&self, state: &mut State, me: usize) {
        let epoch = state.daemons[me].epoch;
        if self.look_is_good(state, me) {
            state.change(me, |token| {
                if let Some(own) = token.records[me].as_mut().filter(|own| own.epoch == epoch) {
                    own.released = true;
                }
            });
        }
        end(state, me);
    }
}

/// The call is over; an event that is nowhere but in memory is forgotten.
fn leave(state: &mut State, me: usize) -> bool {
    if state.daemons[me].alone {
        // The start goes on: to the model, another one.
        end(state, me);
        return true;
    }
    let daemon = &mut state.daemons[me];
    (daemon.event, daemon.request) = (None, None);
    daemon.dead_below =
        daemon.log.iter().filter(|event| event.taint).map(|event| event.number).max().unwrap_or(0);
    go(state, me, At::Idle)
}
