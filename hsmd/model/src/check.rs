//! Running the checker, and telling what it found.

use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

use crate::actions::{Action, Bounds, History};
use crate::flaw::Flaw;

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
    /// Properties that do not hold, each with the way to a state that shows it.
    pub violations: Vec<(&'static str, Vec<Action>)>,
}

/// Looks at every reachable state within the bounds, until a property fails.
pub fn check(bounds: Bounds, flaw: Option<Flaw>) -> Report {
    let began = Instant::now();
    let checker = History::new(bounds, flaw)
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let violations: Vec<_> = checker
        .discoveries()
        .into_iter()
        .map(|(name, path)| (name, path.into_actions()))
        .collect();
    Report {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        complete: violations.is_empty() && checker.is_done(),
        time: began.elapsed(),
        violations,
    }
}

/// The states that a sequence of actions leads through.
///
/// # Errors
/// The index of the first action that can't happen there.
pub fn paths(model: &History, actions: &[Action]) -> Result<Vec<crate::State>, usize> {
    let mut states = model.init_states();
    for (index, action) in actions.iter().enumerate() {
        let mut possible = Vec::new();
        model.actions(&states[index], &mut possible);
        let next = possible.contains(action).then(|| model.next_state(&states[index], *action));
        states.push(next.flatten().ok_or(index)?);
    }
    Ok(states)
}
