//! The start: `hsmd/src/start.rs`, with the table of `hsmd/src/startup.rs`.

use super::{append, exit, go};
use crate::actions::History;
use crate::daemon::{At, Daemon};
use crate::flaw::Flaw;
use crate::step::Step;
use crate::world::{Event, State};

impl History {
    pub(super) fn start_step(&self, state: &mut State, daemon: usize, step: Step) -> bool {
        match step {
            Step::Lock => {
                if self.may_be_half_way(state, daemon) || !self.try_lock(state, daemon) {
                    return false;
                }
                state.daemons[daemon].known = state.log.len() as u8;
                go(state, daemon, Step::Marker)
            }
            Step::Wait => self.wait(state, daemon),
            Step::Marker => {
                go(state, daemon, if self.bounds.standby { Step::Wait } else { Step::Open })
            }
            Step::Open => self.open(state, daemon),
            Step::StartInsert => {
                if self.holds_lock(state, daemon) {
                    go(state, daemon, Step::StartCommit)
                } else {
                    exit(state, daemon);
                    true
                }
            }
            Step::StartCommit => {
                let event = state.daemons[daemon].entries.event;
                if self.holds_lock(state, daemon) && event.is_some_and(|event| append(state, event))
                {
                    state.daemons[daemon].known += 1;
                    go(state, daemon, Step::Decide)
                } else {
                    exit(state, daemon);
                    true
                }
            }
            _ => self.decide(state, daemon),
        }
    }

    /// Without a lease, time alone parts a daemon that lost its connection in steps 2 to 5 of a rotation
    /// from another that starts: the server takes 5 s to notice the loss and free the lock.
    fn may_be_half_way(&self, state: &State, daemon: usize) -> bool {
        let half_way = |me: &Daemon| matches!(me.at, At::Next(step) if (Step::Begin..=Step::Journal).contains(&step));
        !self.bounds.standby
            && state.daemons.iter().enumerate().any(|(i, me)| i != daemon && half_way(me))
    }

    /// The daemon that had the lock before us has a lease from before we took the lock: it has expired
    /// when `lock_grace` + 1 s have passed.
    fn wait(&self, state: &mut State, daemon: usize) -> bool {
        if !self.holds_lock(state, daemon) {
            exit(state, daemon);
            return true;
        }
        let others_lease = state.daemons.iter().enumerate().any(|(i, d)| i != daemon && d.lease);
        if others_lease && !self.has(Flaw::NoLease) {
            return false;
        }
        state.daemons[daemon].known = state.log.len() as u8;
        go(state, daemon, Step::Open)
    }

    /// Login, then journal against log: what contradicts ends the start.
    fn open(&self, state: &mut State, daemon: usize) -> bool {
        let known = state.daemons[daemon].known;
        let entries = self.read_journal(state, daemon).filter(|_| known > 0);
        let Some(entries) = entries else {
            exit(state, daemon);
            return true;
        };
        state.daemons[daemon].entries = entries;
        let Some(event) = entries.event else { return go(state, daemon, Step::Decide) };
        let follows = |head: &Event| event.key == head.next;
        let log = &state.log[..usize::from(known)];
        match log.get(usize::from(event.number)) {
            Some(ours) if ours.text == event.text => go(state, daemon, Step::Decide),
            None if event.number == known && log.last().is_some_and(follows) => {
                go(state, daemon, Step::StartInsert)
            }
            _ => {
                exit(state, daemon);
                true
            }
        }
    }

    /// The start-up table.
    fn decide(&self, state: &mut State, daemon: usize) -> bool {
        if !self.holds_lock(state, daemon) {
            exit(state, daemon);
            return true;
        }
        let (known, begun) = (state.daemons[daemon].known, state.daemons[daemon].entries.begun);
        let (head, n) = (state.log[usize::from(known) - 1], known - 1);
        let (active, next) = (state.has_private(head.key), state.has_private(head.next));
        let mut others = state
            .keys
            .iter()
            .filter(|pair| !(pair.private && (pair.key == head.key || pair.key == head.next)));
        let numbers: Vec<u8> = others.by_ref().map(|pair| pair.key.number).collect();
        let far_ahead = numbers.iter().any(|number| *number > n + 2);
        let two_ahead = next && numbers.contains(&(n + 2)) && begun != Some(n + 1);
        if !active || far_ahead || two_ahead {
            exit(state, daemon);
            return true;
        }
        state.daemons[daemon].lease = true;
        let mut leftovers: Vec<u8> = numbers.into_iter().filter(|number| *number < n).collect();
        leftovers.dedup();
        state.daemons[daemon].leftovers = leftovers;
        go(state, daemon, Step::Activate)
    }
}
