//! Always able to continue: from a state, without further faults and without a person, a daemon comes
//! to serve and one more rotation works. Asked of every reachable state in these ways: all processes
//! are killed and one is started, each alone; all processes live on. A COMMIT whose outcome is open is
//! tried both ways.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Mutex, PoisonError};

use crate::actions::History;
use crate::daemon::{At, Daemon};
use crate::step::Step;
use crate::world::{Lock, Request, State};

/// More steps than any way to a further rotation takes.
const MOST_STEPS: usize = 400;

/// States that are known to go on, by hash.
#[derive(Debug, Default)]
pub(crate) struct Proven(Mutex<HashSet<u64>>);

impl Proven {
    fn has(&self, hash: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&hash)
    }

    fn add(&self, hashes: Vec<u64>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(hashes);
    }
}

impl History {
    /// Whether every way on from here leads to a further rotation.
    pub(crate) fn goes_on(&self, state: &State) -> bool {
        let alone = (0..state.daemons.len()).all(|daemon| {
            let mut killed = state.clone();
            for other in 0..state.daemons.len() {
                Self::kill(&mut killed, other);
            }
            self.outcomes(&killed).into_iter().all(|state| self.restarts(state, daemon))
        });
        alone && self.outcomes(state).into_iter().all(|state| self.lives_on(state))
    }

    /// What the open COMMIT, if there is one, may turn out to have done.
    fn outcomes(&self, state: &State) -> Vec<State> {
        let mut states = vec![state.clone(), state.clone()];
        if matches!(state.lock, Lock::Orphan { .. }) {
            Self::server_ends(&mut states[0], true);
            Self::server_ends(&mut states[1], false);
        } else {
            states.pop();
        }
        states
    }

    /// Nothing runs; this daemon alone is started, again and again if it ends by itself.
    fn restarts(&self, mut state: State, daemon: usize) -> bool {
        forget(&mut state);
        // `init` is a person's command: who ran it and saw it die runs it again, where the intent is.
        let mut daemon = daemon;
        if state.log.is_empty() {
            daemon = (0..state.daemons.len())
                .find(|d| state.disk(*d).intent.is_some())
                .unwrap_or(daemon);
        }
        self.reaches_rotation(state, &[daemon])
    }

    fn lives_on(&self, mut state: State) -> bool {
        forget(&mut state);
        let all: Vec<usize> = (0..state.daemons.len()).collect();
        self.reaches_rotation(state, &all)
    }

    /// Runs these daemons without faults until one of them has carried out a request of ours.
    fn reaches_rotation(&self, mut state: State, daemons: &[usize]) -> bool {
        let mut met = Vec::new();
        for _ in 0..MOST_STEPS {
            let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((&state, daemons));
            if self.proven.has(hash) || self.has_rotated(&state, daemons) {
                self.proven.add(met);
                return true;
            }
            met.push(hash);
            if !self.advance(&mut state, daemons) {
                return false;
            }
        }
        false
    }

    /// Whether a daemon is idle after our request was carried out: the head's key signs, the next one is
    /// there, and earlier ones are gone.
    fn has_rotated(&self, state: &State, daemons: &[usize]) -> bool {
        let Some(head) = state.log.last() else { return false };
        state.requests.last().is_some_and(|request| request.expected + 1 == head.number)
            && state.requests.len() > self.bounds.admin_requests
            && daemons.iter().any(|daemon| {
                let me = &state.daemons[*daemon];
                me.at == At::Idle
                    && me.connected
                    && !me.has_unfinished_work()
                    && me.active.map(|active| active.key) == Some(head.key)
                    && state.has_private(head.key)
                    && state.has_private(head.next)
            })
    }

    /// One move of the daemons, or of time when they all wait for it.
    fn advance(&self, state: &mut State, daemons: &[usize]) -> bool {
        for daemon in daemons {
            if state.daemons[*daemon].at == At::Down {
                let initialise = state.log.is_empty() || state.disk(*daemon).intent.is_some();
                let step = if initialise { Step::InitLock } else { Step::Lock };
                state.daemons[*daemon].at = At::Next(step);
                return true;
            }
            if let Some(next) = self.step(state, *daemon)
                && next != *state
            {
                *state = next;
                return true;
            }
        }
        // All wait: for the server to end a process, for a lease to end, or for us.
        if matches!(state.lock, Lock::Orphan { .. }) {
            Self::server_ends(state, false);
            return true;
        }
        let holder = state.lock;
        let expired = |(i, me): (usize, &mut Daemon)| {
            holder != Lock::Held(i) && std::mem::replace(&mut me.lease, false)
        };
        if self.bounds.standby && state.daemons.iter_mut().enumerate().any(expired) {
            return true;
        }
        let Some(head) = state.head() else { return false };
        let ready = |daemon: &&usize| {
            let me = &state.daemons[**daemon];
            me.at == At::Idle && me.connected
        };
        let Some(daemon) = daemons.iter().find(ready).copied() else { return false };
        let request = Request { taint: false, expected: head };
        if state.requests.len() > self.bounds.admin_requests {
            return false;
        }
        // What was asked for before may not be enough to tell ours: pad with it.
        while state.requests.len() <= self.bounds.admin_requests {
            state.requests.push(request);
        }
        self.deliver(state, daemon, request);
        true
    }
}

/// What bears on nothing that follows; so that many states become one.
fn forget(state: &mut State) {
    (state.crashes, state.cuts) = (0, 0);
    for daemon in &mut state.daemons {
        daemon.reply = None;
    }
}
