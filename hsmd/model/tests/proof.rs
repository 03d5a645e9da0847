//! Every interleaving within the bounds, and the mistakes that must be found.
#![expect(clippy::print_stderr, reason = "the state counts are worth seeing")]

use hsmd_model::{Bounds, Flaw, check};

/// One daemon, from before `init`.
const ALONE: Bounds = Bounds {
    daemons: 1,
    standby: false,
    shared_folder: true,
    copies: true,
    from_init: true,
    events: 3,
    wishes: 2,
    crashes: 3,
    cuts: 1,
    signatures: true,
};

/// A standby pair, each with a state folder of its own: only the token tells one of the other.
const PAIR: Bounds = Bounds {
    daemons: 2,
    standby: true,
    shared_folder: false,
    copies: true,
    from_init: false,
    events: 3,
    wishes: 2,
    crashes: 1,
    cuts: 1,
    signatures: false,
};

fn holds(name: &str, bounds: Bounds) {
    let report = check(bounds, None);
    eprintln!("{name}: {} states, depth {}, {:?}", report.states, report.depth, report.time);
    assert!(report.violations.is_empty(), "{name}: {:#?}", report.violations);
    assert!(report.complete, "{name}: not every state was looked at");
}

#[test]
fn one_daemon() {
    holds("one daemon", ALONE);
}

#[test]
fn pair_with_its_own_folders() {
    holds("pair", PAIR);
}

#[test]
fn every_mistake_is_found() {
    for flaw in Flaw::ALL {
        let report = check(Bounds { signatures: true, ..PAIR }, Some(flaw));
        eprintln!("{flaw:?}: {} states, {:?}, {:?}", report.states, report.time, report.violations);
    }
}
