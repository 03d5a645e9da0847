//! What can happen, and the checker's view of it.

use stateright::{Model, Property};

use super::flaw::Flaw;
use super::invariants::{self, READERS, SIGNATURES};
use super::start::take_back;
use super::state::{At, Daemon, Database, Event, Folder, Record, State, Token};

/// How far the checker looks.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The second daemon's database is promoted away from the first's at some moment, or never.
    pub promotes: bool,
    /// Whether the promoted database may lack the newest event.
    pub lags: bool,
    /// Rotations and taints.
    pub admin_requests: u8,
    /// Whether all of them are taints.
    pub taints_only: bool,
    /// Crashes.
    pub crashes: u8,
    /// Claims.
    pub claims: u8,
    /// Starts with `--take-over-token`.
    pub take_overs: u8,
    /// Whether private keys can be destroyed. Where they can't, or where another process keeps a destroyed
    /// key loaded, each key goes on signing for every daemon that asks.
    pub destroys: bool,
    /// Whether records hold events. Where they are key pairs, the journal's file alone does, and what a
    /// daemon does not know shows in the keys only, by the startup table.
    pub journaled: bool,
    /// Whether callers ask for signatures.
    pub signatures: bool,
    /// Whether a start that waits for its database makes taints.
    pub alone: bool,
    /// Whether a start shows its log before it has looked at the token, which may be away.
    pub early: bool,
}

/// The model.
#[derive(Debug)]
pub struct Ownership {
    /// How far to look.
    pub bounds: Bounds,
    /// The mistake to make.
    pub flaw: Option<Flaw>,
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// `hsmd serve`, with `--take-over-token` or without.
    Start(usize, bool),
    /// A process takes its next step.
    Take(usize),
    /// A COMMIT finds the database away.
    Away(usize),
    /// A process is killed after the step that it took last.
    Kill(usize),
    /// A claim fails midway, at its database or its token: it is taken back.
    Fail(usize),
    /// A process is stopped and releases the token.
    Stop(usize),
    /// The second database is promoted, with the newest event or without.
    Promote(bool),
    /// An owner looks at the token.
    Look(usize),
    /// An owner has not looked for the time of its lease.
    LeaseEnds(usize),
    /// A taint, or a rotation, is asked for.
    Ask(usize, bool),
    /// A taint is asked for while a start waits for its database.
    TaintAlone(usize),
    /// A caller's document is signed.
    Sign(usize),
    /// The reply is handed over, or dropped.
    HandOver(usize),
    /// An owner destroys, in the background, the key before the head's.
    Finish(usize),
    /// A reader asks this daemon for the log.
    Read(usize),
}

impl Ownership {
    pub(super) fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// Takes the next step of a process, if it is not blocked.
    fn step(&self, last: &State, me: usize) -> Option<State> {
        let mut state = last.clone();
        let at = state.daemons[me].at;
        let taken = match at {
            At::Down => false,
            at if at <= At::Merge => self.start_step(&mut state, me, at),
            at => self.work_step(&mut state, me, at),
        };
        close_job(last, &mut state, me);
        taken.then_some(state)
    }

    fn sign(state: &mut State, me: usize) -> bool {
        let daemon = &mut state.daemons[me];
        let generation = daemon.published.saturating_sub(1) as u8;
        let there = state.token.private & (1 << generation) != 0;
        if !there || generation < daemon.dead_below {
            return false;
        }
        daemon.reply = Some(generation);
        true
    }

    fn hand_over(&self, state: &mut State, me: usize) {
        let daemon = &mut state.daemons[me];
        let admitted = daemon.is_admitted() || self.has(Flaw::UnfencedReplies);
        if let Some(generation) = daemon.reply.take()
            && admitted
            && generation >= daemon.dead_below
            && state.answered & (1 << generation) != 0
        {
            state.blame(SIGNATURES);
        }
    }

    fn read(state: &mut State, me: usize) {
        let daemon = &state.daemons[me];
        let shown = daemon.log[..daemon.published].to_vec();
        if shown.starts_with(&state.reader) {
            state.reader = shown;
        } else {
            state.blame(READERS);
        }
    }

    fn answers_readers(&self, daemon: &Daemon) -> bool {
        let rows = self.has(Flaw::PublishRowsAtStart) && daemon.published > 0;
        daemon.is_admitted() || (daemon.early && !daemon.serving) || rows
    }
}

/// What the end of a job means to the other's wait.
fn close_job(last: &State, state: &mut State, me: usize) {
    if last.daemons[me].has_open_job() && last.daemons[me].at != state.daemons[me].at {
        state.daemons[1 - me].other_busy = false;
    }
}

/// Ends a process; its lock is free.
pub(super) fn end(state: &mut State, me: usize) {
    let database = state.database(me);
    if database.lock == Some(me) {
        database.lock = None;
    }
    state.daemons[me] = Daemon::down();
    let other = &mut state.daemons[1 - me];
    (other.other_looked, other.other_busy) = (true, false);
}

impl Model for Ownership {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let first = Event { number: 0, text: 0, taint: false };
        let database = Database { log: vec![first], claims: vec![(1, 0)], lock: None };
        let events = if self.bounds.journaled { vec![first] } else { vec![] };
        let record = Record { epoch: 1, released: true, events };
        vec![State {
            token: Token { records: [Some(record), None], private: 0b11 },
            databases: [database, Database::default()],
            uses: [0, 0],
            folders: [
                Folder { epoch: 1, events: vec![first], ..Folder::default() },
                Folder::default(),
            ],
            daemons: [Daemon::down(), Daemon::down()],
            reader: Vec::new(),
            answered: 0,
            texts: [1, 0, 0, 0, 0, 0],
            admin_requests: self.bounds.admin_requests,
            crashes: self.bounds.crashes,
            claims: self.bounds.claims,
            take_overs: self.bounds.take_overs,
            wrong: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if self.bounds.promotes
            && state.uses[1] == 0
            && matches!(state.daemons[1].at, At::Down | At::Lock)
        {
            actions.push(Action::Promote(false));
            if self.bounds.lags && state.databases[0].log.len() > 1 {
                actions.push(Action::Promote(true));
            }
        }
        for (me, daemon) in state.daemons.iter().enumerate() {
            if daemon.at == At::Down {
                actions.push(Action::Start(me, false));
                if state.take_overs > 0 {
                    actions.push(Action::Start(me, true));
                }
                continue;
            }
            actions.push(Action::Take(me));
            if self.bounds.alone && daemon.at == At::Lock && state.admin_requests > 0 {
                actions.push(Action::TaintAlone(me));
            }
            if daemon.at == At::Commit && daemon.request != Some(false) {
                actions.push(Action::Away(me));
            }
            if state.crashes > 0 && daemon.at > At::Open {
                actions.push(Action::Kill(me));
            }
            let claims = daemon.at > At::ClaimMake && daemon.at <= At::Merge;
            if state.crashes > 0 && claims && (daemon.at < At::Merge || daemon.claimed) {
                actions.push(Action::Fail(me));
            }
            if daemon.at == At::Idle {
                actions.push(Action::Look(me));
                if state.claims > 0 {
                    actions.push(Action::Stop(me));
                }
                if self.has_key_left(daemon) {
                    actions.push(Action::Finish(me));
                }
                if daemon.is_admitted() && state.admin_requests > 0 {
                    actions.push(Action::Ask(me, true));
                    if !self.bounds.taints_only && daemon.stored == daemon.log.len() {
                        actions.push(Action::Ask(me, false));
                    }
                }
            }
            if daemon.lease {
                actions.push(Action::LeaseEnds(me));
            }
            if self.bounds.signatures && daemon.is_admitted() && daemon.reply.is_none() {
                actions.push(Action::Sign(me));
            }
            if daemon.reply.is_some() {
                actions.push(Action::HandOver(me));
            }
            if self.answers_readers(daemon) {
                actions.push(Action::Read(me));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        if let Action::Take(me) = action {
            return self.step(last, me);
        }
        let mut state = last.clone();
        match action {
            Action::Take(_) => {}
            Action::Start(me, take_over) => {
                state.take_overs -= u8::from(take_over);
                state.daemons[me].take_over = take_over;
                state.daemons[me].at = At::Lock;
            }
            Action::Away(me) => self.stay_pending(&mut state, me),
            Action::Kill(me) => {
                state.crashes -= 1;
                end(&mut state, me);
            }
            Action::Fail(me) => {
                state.crashes -= 1;
                take_back(&mut state, me);
            }
            Action::Stop(me) => self.release(&mut state, me),
            Action::Promote(lags) => {
                let Database { mut log, claims, .. } = state.databases[0].clone();
                log.truncate(log.len() - usize::from(lags));
                state.databases[1] = Database { log, claims, lock: None };
                state.uses[1] = 1;
            }
            Action::Look(me) => self.look_while_idle(&mut state, me),
            Action::LeaseEnds(me) => {
                state.daemons[me].lease = false;
                state.daemons[1 - me].other_looked = true;
            }
            Action::Ask(me, taint) => {
                state.admin_requests -= 1;
                let daemon = &mut state.daemons[me];
                daemon.request = Some(taint);
                if taint {
                    daemon.dead_below = daemon.head() + 1;
                }
                daemon.at = At::SignLook;
            }
            Action::TaintAlone(me) => {
                if !self.taint_alone(&mut state, me) {
                    return None;
                }
            }
            Action::Sign(me) => {
                if !Self::sign(&mut state, me) {
                    return None;
                }
            }
            Action::HandOver(me) => self.hand_over(&mut state, me),
            Action::Finish(me) => state.daemons[me].at = At::DestroyLook,
            Action::Read(me) => Self::read(&mut state, me),
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let wanted = self.flaw.map(Flaw::breaks);
        let mut properties = invariants::properties();
        properties.retain(|property| wanted.is_none_or(|wanted| wanted == property.name));
        properties
    }
}
