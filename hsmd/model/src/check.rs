//! Running the checker, and telling what it found.

use std::fmt::Debug;
use std::hash::Hash;
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

use crate::actions::{Action, Bounds, History};
use crate::flaw::Flaw;
use crate::ownership::{self, Ownership};

/// What the checker found.
#[derive(Debug)]
pub struct Report {
    /// Distinct states.
    pub states: usize,
    /// The longest of the shortest ways to a state.
    pub depth: usize,
    /// Whether every reachable state was looked at.
    pub complete: bool,
    /// How long it took.
    pub time: Duration,
    /// Properties that do not hold, each with the shortest way found to a state that shows it.
    pub violations: Vec<(&'static str, Vec<String>)>,
}

/// Looks at every reachable state of a history within the bounds, until a property fails.
pub fn check(bounds: Bounds, flaw: Option<Flaw>) -> Report {
    explore(History::new(bounds, flaw), tell)
}

/// The same of the token's ownership.
pub fn check_ownership(bounds: ownership::Bounds, flaw: Option<ownership::Flaw>) -> Report {
    explore(Ownership { bounds, flaw }, |_, actions| {
        actions.iter().map(|action| format!("{action:?}")).collect()
    })
}

fn explore<M>(model: M, describe: impl Fn(&M, &[M::Action]) -> Vec<String>) -> Report
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + PartialEq + Debug + Hash + Send + Sync + 'static,
    M::Action: Clone + PartialEq + Debug + Send + Sync,
{
    let began = Instant::now();
    let checker =
        model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let violations: Vec<_> = checker
        .discoveries()
        .into_iter()
        .map(|(name, path)| (name, describe(checker.model(), &path.into_actions())))
        .collect();
    Report {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        complete: violations.is_empty() && checker.is_done(),
        time: began.elapsed(),
        violations,
    }
}

/// What happens in a sequence of actions, one line each, with the steps that are taken.
pub fn tell(model: &History, actions: &[Action]) -> Vec<String> {
    let Some(mut state) = model.init_states().pop() else { return Vec::new() };
    let mut lines = Vec::new();
    for action in actions {
        lines.push(match action {
            Action::Take(daemon) => format!("{daemon}: {:?}", state.daemons[*daemon].at),
            Action::Deliver(daemon, request) => {
                format!("{daemon}: {:?} is delivered", state.requests[*request])
            }
            other => format!("{other:?}"),
        });
        let Some(next) = model.next_state(&state, *action) else { break };
        state = next;
    }
    lines
}
