//! What can happen: a step of a process, a fault, an admin request, a signature.

use stateright::{Model, Property};

use crate::daemon::{At, Daemon, Pending};
use crate::flaw::Flaw;
use crate::invariants;
use crate::recovery::Proven;
use crate::step::Step;
use crate::steps::{append, make_incomplete_pair};
use crate::world::{Disk, Event, Key, Lock, Pair, Request, State};

/// How far the checker looks.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Processes: one, or a pair.
    pub daemons: usize,
    /// `standby = true`: the lease counts.
    pub standby: bool,
    /// Whether both have one state folder.
    pub shared_folder: bool,
    /// Whether the token holds data objects, and so a copy of the journal.
    pub copies: bool,
    /// Whether private keys can be destroyed. Where they can't, or where another process keeps a destroyed
    /// key loaded, each key goes on signing for every daemon that asks.
    pub destroys: bool,
    /// Begin before `init`, and not with an identity.
    pub from_init: bool,
    /// Events at most, event 0 included.
    pub events: usize,
    /// Admin requests.
    pub admin_requests: usize,
    /// Crashes.
    pub crashes: u8,
    /// Connections cut.
    pub cuts: u8,
    /// Whether callers ask for signatures.
    pub signatures: bool,
}

/// The model.
#[derive(Debug)]
pub struct History {
    /// How far to look.
    pub bounds: Bounds,
    /// The mistake to make.
    pub flaw: Option<Flaw>,
    pub(crate) proven: Proven,
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// `hsmd init` is run.
    Init(usize),
    /// `hsmd serve` is run.
    Start(usize),
    /// A process takes its next step.
    Take(usize),
    /// A process is killed after the step that it took last.
    Kill(usize),
    /// A process is killed while the token makes a pair, which stays incomplete.
    KillInKeyGeneration(usize),
    /// The writer's connection of a daemon is cut; a COMMIT may be under way.
    Cut(usize),
    /// A server process without its daemon ends, and its COMMIT had arrived, or not.
    ServerEnds(bool),
    /// The newest proof of the lock becomes older than `lock_grace`.
    LeaseEnds(usize),
    /// An administrator decides to taint the head, or to rotate.
    Ask(bool),
    /// An admin request arrives, for the first time or again.
    Deliver(usize, usize),
    /// A caller's document is signed.
    Sign(usize),
    /// The reply is handed to the transport, or dropped at the release check.
    HandOver(usize),
}

impl History {
    /// A model within bounds, with a mistake or without.
    pub fn new(bounds: Bounds, flaw: Option<Flaw>) -> Self {
        Self { bounds, flaw, proven: Proven::default() }
    }

    /// Whether this daemon may sign and hand over, as far as the lock counts.
    fn lock_is_proved(&self, me: &Daemon) -> bool {
        !self.bounds.standby || me.lease || self.has(Flaw::NoLease)
    }

    /// The number of the pair that the step at hand would make.
    fn pair_in_the_making(state: &State, daemon: usize) -> Option<u8> {
        let me = &state.daemons[daemon];
        match me.at {
            At::Next(Step::InitKey0) => Some(0),
            At::Next(Step::InitKey1) => Some(1),
            At::Next(Step::MakeKey) => Some(me.head() + 2),
            _ => None,
        }
        .filter(|number| state.keys.iter().all(|pair| pair.key.number != *number))
    }

    /// The event whose COMMIT may be under way.
    fn commit_under_way(me: &Daemon) -> Option<Event> {
        match me.at {
            At::Next(Step::InitCommit | Step::StartCommit) => me.entries.event,
            At::Next(Step::Commit) => me.pending_event().or(me.event),
            _ => None,
        }
    }

    /// The process dies, or only its connection.
    pub(crate) fn orphan(state: &mut State, daemon: usize) {
        if state.lock == Lock::Held(daemon) {
            let commit = Self::commit_under_way(&state.daemons[daemon]);
            state.lock = Lock::Orphan { owner: daemon, commit };
        }
    }

    pub(crate) fn kill(state: &mut State, daemon: usize) {
        Self::orphan(state, daemon);
        state.daemons[daemon] = Daemon::down();
    }

    pub(crate) fn server_ends(state: &mut State, committed: bool) {
        if let Lock::Orphan { commit, .. } = state.lock {
            if let (true, Some(event)) = (committed, commit) {
                append(state, event);
            }
            state.lock = Lock::Free;
        }
    }

    pub(crate) fn deliver(&self, state: &mut State, daemon: usize, request: Request) {
        state.daemons[daemon].request = Some(request);
        if !self.finish(state, daemon) {
            state.daemons[daemon].at = At::Next(Step::Check);
        }
    }

    fn has_intent(&self, state: &State) -> bool {
        state.disks.iter().any(|disk| disk.intent.is_some())
    }

    fn sign_body(state: &mut State, daemon: usize) -> bool {
        let Some(active) = state.daemons[daemon].active else { return false };
        if active.name < state.daemons[daemon].dead_below || !state.has_private(active.key) {
            return false;
        }
        if state.log[usize::from(active.name)].key != active.key {
            state.blame("a signature names a key that did not make it");
        }
        if state.is_tainted(active.name) {
            state.blame("a tainted generation signed");
        }
        state.daemons[daemon].reply = Some(Pending { name: active.name });
        true
    }

    fn hand_over(&self, state: &mut State, daemon: usize) {
        let me = &state.daemons[daemon];
        let admitted = self.lock_is_proved(me) || self.has(Flaw::UnfencedReplies);
        if let Some(reply) = me.reply
            && admitted
            && reply.name >= me.dead_below
            && state.is_tainted(reply.name)
        {
            state.blame("a signature of a tainted generation left");
        }
        state.daemons[daemon].reply = None;
    }
}

impl Model for History {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let disks = if self.bounds.shared_folder { 1 } else { self.bounds.daemons };
        let mut state = State {
            log: Vec::new(),
            lock: Lock::Free,
            keys: Vec::new(),
            copy: None,
            disks: vec![Disk::default(); disks],
            daemons: vec![Daemon::down(); self.bounds.daemons],
            requests: Vec::new(),
            texts: [0; 6],
            made: [0; 8],
            crashes: self.bounds.crashes,
            cuts: self.bounds.cuts,
            wrong: None,
        };
        if !self.bounds.from_init {
            let (key, next) = (Key { number: 0, made: 0 }, Key { number: 1, made: 0 });
            let event = Event { number: 0, text: 0, key, next, taint: false };
            state.log.push(event);
            state.keys = vec![Pair { key, private: true }, Pair { key: next, private: true }];
            state.disks[0].journal.event = Some(event);
            (state.texts[0], state.made[0], state.made[1]) = (1, 1, 1);
        }
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let initialising = |d: &Daemon| matches!(d.at, At::Next(step) if step <= Step::InitDiscard);
        for (daemon, me) in state.daemons.iter().enumerate() {
            if me.at == At::Down {
                // One person runs `init`, before anything serves, and again after a crash.
                let one = state.daemons.iter().all(|other| other.at == At::Down);
                if self.bounds.from_init && one && (state.log.is_empty() || self.has_intent(state))
                {
                    actions.push(Action::Init(daemon));
                }
                if !state.log.is_empty() && !state.daemons.iter().any(initialising) {
                    actions.push(Action::Start(daemon));
                }
                continue;
            }
            actions.push(Action::Take(daemon));
            if state.crashes > 0 {
                actions.push(Action::Kill(daemon));
                if Self::pair_in_the_making(state, daemon).is_some() {
                    actions.push(Action::KillInKeyGeneration(daemon));
                }
            }
            if state.cuts > 0 && state.lock == Lock::Held(daemon) {
                actions.push(Action::Cut(daemon));
            }
            if me.lease && self.bounds.standby && state.lock != Lock::Held(daemon) {
                actions.push(Action::LeaseEnds(daemon));
            }
            if me.serving && me.at == At::Idle {
                let requests = (0..state.requests.len()).map(|i| Action::Deliver(daemon, i));
                actions.extend(requests);
            }
            if self.bounds.signatures && me.serving && me.reply.is_none() && self.lock_is_proved(me)
            {
                actions.push(Action::Sign(daemon));
            }
            if me.reply.is_some() {
                actions.push(Action::HandOver(daemon));
            }
        }
        if let Lock::Orphan { commit, .. } = state.lock {
            actions.push(Action::ServerEnds(false));
            if commit.is_some() {
                actions.push(Action::ServerEnds(true));
            }
        }
        if state.requests.len() < self.bounds.admin_requests && state.log.len() < self.bounds.events
        {
            actions.extend([Action::Ask(false), Action::Ask(true)]);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        if let Action::Take(daemon) = action {
            return self.step(last, daemon);
        }
        let mut state = last.clone();
        match action {
            Action::Take(_) => {}
            Action::Init(daemon) => state.daemons[daemon].at = At::Next(Step::InitLock),
            Action::Start(daemon) => state.daemons[daemon].at = At::Next(Step::Lock),
            Action::Kill(daemon) => {
                state.crashes -= 1;
                Self::kill(&mut state, daemon);
            }
            Action::KillInKeyGeneration(daemon) => {
                state.crashes -= 1;
                let number = Self::pair_in_the_making(&state, daemon)?;
                make_incomplete_pair(&mut state, number);
                Self::kill(&mut state, daemon);
            }
            Action::Cut(daemon) => {
                state.cuts -= 1;
                Self::orphan(&mut state, daemon);
            }
            Action::ServerEnds(committed) => Self::server_ends(&mut state, committed),
            Action::LeaseEnds(daemon) => state.daemons[daemon].lease = false,
            Action::Ask(taint) => {
                let request = Request { taint, expected: state.head()? };
                if state.requests.contains(&request) {
                    return None;
                }
                state.requests.push(request);
            }
            Action::Deliver(daemon, request) => {
                self.deliver(&mut state, daemon, last.requests[request]);
            }
            Action::Sign(daemon) => {
                if !Self::sign_body(&mut state, daemon) {
                    return None;
                }
            }
            Action::HandOver(daemon) => self.hand_over(&mut state, daemon),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let wanted = self.flaw.map(Flaw::breaks);
        let mut properties = invariants::properties();
        properties.retain(|property| wanted.is_none_or(|wanted| wanted == property.name));
        properties
    }
}
