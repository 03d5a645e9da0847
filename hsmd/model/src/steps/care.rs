//! The care for the connection while serving: `hsmd/src/daemon.rs`.

use super::{free_lock, go};
use crate::actions::History;
use crate::daemon::{At, Daemon};
use crate::flaw::Flaw;
use crate::step::Step;
use crate::world::{Lock, State};

impl History {
    /// False when there is nothing to do.
    pub(super) fn look_after(&self, state: &mut State, daemon: usize) -> bool {
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
        let step = if me.unsettled().is_some() { Step::Insert } else { Step::Activate };
        go(state, daemon, step)
    }

    fn reconnect(&self, state: &mut State, daemon: usize) -> bool {
        match state.lock {
            // Our old server process has been told to end.
            Lock::Orphan { owner, .. } if owner == daemon => return false,
            Lock::Orphan { .. } | Lock::Held(_) if !self.has(Flaw::NoLock) => {
                return !std::mem::replace(&mut state.daemons[daemon].revoked, true);
            }
            _ => {}
        }
        // With a lease that still runs, nobody who had the lock in between has used it.
        let ran_out = self.bounds.standby && !state.daemons[daemon].lease;
        if ran_out && !self.has(Flaw::ReturnWithoutWait) && !self.has(Flaw::NoLease) {
            return start_anew(state, daemon);
        }
        self.try_lock(state, daemon);
        let me = &state.daemons[daemon];
        let found = state.log.len() - usize::from(me.known);
        if found > 0 {
            let ours = me.unsettled().is_some() && me.unsettled() == state.log.last().copied();
            if !ours || found > 1 {
                return start_anew(state, daemon);
            }
            state.daemons[daemon].lease = true;
            return go(state, daemon, Step::Committed);
        }
        if !self.has(Flaw::ReturnWithoutLook) && self.has_news(state, daemon) {
            return start_anew(state, daemon);
        }
        state.daemons[daemon].revoked = false;
        state.daemons[daemon].lease = true;
        true
    }

    /// Whether file or token know more than this daemon: another one has begun something.
    fn has_news(&self, state: &mut State, daemon: usize) -> bool {
        let Some(found) = self.read_journal(state, daemon) else { return true };
        let me = &state.daemons[daemon];
        found.event.map(|event| event.number) > me.entries.event.map(|event| event.number)
            || found.begun > me.entries.begun.max(Some(me.head()))
    }
}

/// The core is dropped and the start runs again, in the same process.
fn start_anew(state: &mut State, daemon: usize) -> bool {
    free_lock(state, daemon);
    let me = &state.daemons[daemon];
    let (dead_below, reply, lease) = (me.dead_below, me.reply, me.lease);
    state.daemons[daemon] =
        Daemon { at: At::Next(Step::Lock), dead_below, reply, lease, ..Daemon::down() };
    true
}
