//! The care for the connection while serving: `hsmd/src/daemon.rs`.

use super::{exit, go};
use crate::actions::History;
use crate::daemon::At;
use crate::flaw::Flaw;
use crate::step::Step;
use crate::world::{Lock, State};

impl History {
    /// False when there is nothing to do.
    pub(super) fn maintain(&self, state: &mut State, daemon: usize) -> bool {
        if !state.daemons[daemon].connected {
            return self.reconnect(state, daemon);
        }
        if !self.holds_lock(state, daemon) {
            state.daemons[daemon].connected = false;
            return true;
        }
        let proved = !std::mem::replace(&mut state.daemons[daemon].lease, true);
        self.finish(state, daemon) || proved
    }

    /// Begins to finish what was left; false when nothing was.
    pub(crate) fn finish(&self, state: &mut State, daemon: usize) -> bool {
        let me = &state.daemons[daemon];
        if !me.has_unfinished_work() {
            return false;
        }
        let step = if me.pending_event().is_some() { Step::Insert } else { Step::Activate };
        go(state, daemon, step)
    }

    fn reconnect(&self, state: &mut State, daemon: usize) -> bool {
        match state.lock {
            // Our old server process has been told to end.
            Lock::Orphan { owner, .. } if owner == daemon => return false,
            // Another daemon has the lock: a fresh start stands by, or refuses.
            Lock::Orphan { .. } | Lock::Held(_) if !self.has(Flaw::NoLock) => {
                exit(state, daemon);
                return true;
            }
            _ => {}
        }
        // With a valid lease, no daemon that had the lock in between has used it.
        let ran_out = self.bounds.standby && !state.daemons[daemon].lease;
        self.try_lock(state, daemon);
        if ran_out && !self.has(Flaw::ReturnWithoutWait) && !self.has(Flaw::NoLease) {
            return go(state, daemon, Step::WaitOutGrace);
        }
        self.look(state, daemon)
    }

    /// As a start does it: until no other lease can run.
    pub(super) fn wait_out_grace(&self, state: &mut State, daemon: usize) -> bool {
        if !self.holds_lock(state, daemon) {
            state.daemons[daemon].connected = false;
            state.daemons[daemon].at = At::Idle;
            return true;
        }
        let others_lease = state.daemons.iter().enumerate().any(|(i, d)| i != daemon && d.lease);
        if others_lease {
            return false;
        }
        state.daemons[daemon].at = At::Idle;
        self.look(state, daemon)
    }

    /// What has become of log and journal; whatever was not ours ends the process.
    fn look(&self, state: &mut State, daemon: usize) -> bool {
        let me = &state.daemons[daemon];
        let found = state.log.len() - usize::from(me.known);
        if found > 0 {
            let ours =
                me.pending_event().is_some() && me.pending_event() == state.log.last().copied();
            if !ours || found > 1 {
                exit(state, daemon);
                return true;
            }
        }
        if !self.has(Flaw::ReturnWithoutLook) && self.has_news(state, daemon) {
            exit(state, daemon);
            return true;
        }
        state.daemons[daemon].lease = true;
        if found > 0 { go(state, daemon, Step::Committed) } else { true }
    }

    /// Whether file or token know more than this daemon: another one has begun something.
    fn has_news(&self, state: &mut State, daemon: usize) -> bool {
        let Some(found) = self.read_journal(state, daemon) else { return true };
        let me = &state.daemons[daemon];
        let head = state.head();
        found.event.map(|event| event.number) > me.entries.event.map(|event| event.number)
            || found.begun > me.entries.begun.max(head)
    }
}
