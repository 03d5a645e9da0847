//! Ways through the model that a test can take with real processes: each is a number of lives that end
//! at a crash point, on one host or on two, while one admin request is sent again and again, and a last life in
//! which it is carried out and a further rotation works.

use stateright::Model;

use crate::actions::{Action, Bounds, History};
use crate::daemon::At;
use crate::step::Step;
use crate::world::{Lock, Pair, State};

/// A way through the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Taint, or rotate.
    pub taint: bool,
    /// The lives that end early.
    pub lives: Vec<Life>,
    /// The host of the last life.
    pub host: usize,
    /// Events in the log once it serves.
    pub events: usize,
    /// Whether the request was still to be carried out then.
    pub performed: bool,
}

/// A process that is killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// On which of two hosts, each with a state folder of its own.
    pub host: usize,
    /// Where it dies: a name and an action for FAILPOINTS.
    pub failpoint: String,
    /// Whether it serves and is asked before.
    pub asked: bool,
    /// Events in the log after its death.
    pub events: usize,
}

const BOUNDS: Bounds = Bounds {
    daemons: 2,
    standby: false,
    shared_folder: false,
    copies: true,
    destroys: true,
    from_init: false,
    events: 4,
    admin_requests: 2,
    crashes: 8,
    cuts: 0,
    signatures: false,
};

/// Every crash point of a start and of the first rotation, each followed by a life on the other host;
/// and each followed by a second death, on either host. The kinds of request take turns.
pub fn traces() -> Vec<Trace> {
    let mut traces = Vec::new();
    for first in 1.. {
        let taint = first % 2 == 0;
        let Some(once) = Walk::new(taint).dies_at(0, first) else { return traces };
        traces.push(once.lives_on(1));
        let (other, second) = (first / 2 % 2, 1 + first * 7 % 12);
        let twice =
            Walk::new(!taint).dies_at(0, first).and_then(|walk| walk.dies_at(other, second));
        traces.extend(twice.map(|walk| walk.lives_on(0)));
    }
    traces
}

/// A walk through the model.
struct Walk {
    model: History,
    state: State,
    taint: bool,
    lives: Vec<Life>,
}

impl Walk {
    fn new(taint: bool) -> Self {
        let model = History::new(BOUNDS, None);
        let state = model.init_states().remove(0);
        let mut walk = Self { model, state, taint, lives: Vec::new() };
        walk.act(Action::Ask(taint));
        walk
    }

    fn act(&mut self, action: Action) {
        if let Some(next) = self.model.next_state(&self.state, action) {
            self.state = next;
        }
    }

    /// One life that ends at the `count`th crash point that it passes; none if it passes fewer.
    fn dies_at(mut self, host: usize, count: usize) -> Option<Self> {
        let (mut passed, mut asked): (Vec<&str>, _) = (Vec::new(), false);
        self.act(Action::Start(host));
        loop {
            match self.state.daemons[host].at {
                At::Idle if asked => return None,
                At::Idle => {
                    self.act(Action::Deliver(host, 0));
                    asked = true;
                }
                At::Down => return None,
                At::Next(step) => {
                    let retiring = self.state.daemons[host].leftovers.first();
                    let whole = retiring.is_some_and(|number| {
                        let is_it = |p: &&Pair| p.key.number == *number;
                        self.state.keys.iter().find(is_it).is_some_and(|pair| pair.private)
                    });
                    self.act(Action::Take(host));
                    let next = self.state.daemons[host].at;
                    for name in passes(step, next, whole) {
                        passed.push(name);
                        if passed.len() == count {
                            return Some(self.died(host, asked, &passed));
                        }
                    }
                }
            }
        }
    }

    fn died(mut self, host: usize, asked: bool, passed: &[&'static str]) -> Self {
        self.act(Action::Kill(host));
        if matches!(self.state.lock, Lock::Orphan { .. }) {
            // The crash point stands before COMMIT is sent.
            self.act(Action::ServerEnds(false));
        }
        let name = passed.last().copied().unwrap_or_default();
        let before = passed.iter().filter(|passed| **passed == name).count() - 1;
        let failpoint = if before == 0 {
            format!("{name}=return")
        } else {
            format!("{name}={before}*off->return")
        };
        let events = self.state.log.len();
        self.lives.push(Life { host, failpoint, asked, events });
        self
    }

    /// The last life, until it serves.
    fn lives_on(mut self, host: usize) -> Trace {
        self.act(Action::Start(host));
        while let At::Next(_) = self.state.daemons[host].at {
            self.act(Action::Take(host));
        }
        let events = self.state.log.len();
        Trace { taint: self.taint, lives: self.lives, host, events, performed: events == 1 }
    }
}

/// The crash points that the code passes in a step, in order: an adopted pair passes the point behind a
/// new one, and destroying passes its point after each object that is there.
fn passes(step: Step, next: At, whole: bool) -> Vec<&'static str> {
    let points = match step {
        Step::FindKey if next == At::Next(Step::Sign) => [Step::MakeKey.crash_point(), None],
        Step::RetirePrivate if !whole => [None, None],
        Step::RetirePublic => [Step::RetirePrivate.crash_point(), step.crash_point()],
        _ => [step.crash_point(), None],
    };
    points.into_iter().flatten().collect()
}
