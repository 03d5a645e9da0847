//! Every interleaving within the bounds, and the mistakes that must be found.
#![expect(clippy::print_stderr, reason = "the state counts are worth seeing")]

use hsmd_model::{Bounds, Flaw, PROPERTIES, check};

/// One daemon, from before `init`.
const ALONE: Bounds = Bounds {
    daemons: 1,
    standby: false,
    shared_folder: true,
    copies: true,
    destroys: true,
    from_init: true,
    events: 3,
    admin_requests: 2,
    crashes: 2,
    cuts: 1,
    signatures: true,
};

/// A standby pair, each with a state folder of its own: only the token tells one of the other.
const PAIR: Bounds = Bounds {
    daemons: 2,
    standby: true,
    shared_folder: false,
    copies: true,
    destroys: true,
    from_init: false,
    events: 3,
    admin_requests: 2,
    crashes: 1,
    cuts: 1,
    signatures: false,
};

/// The lock goes to and fro.
const CUT_TWICE: Bounds = Bounds { crashes: 0, cuts: 2, admin_requests: 1, ..PAIR };

/// Without standby, a second daemon that is started when the first has lost its connection.
const SPARE: Bounds = Bounds { standby: false, ..PAIR };

/// A standby pair with one folder and a token that holds no data objects.
const SHARED: Bounds = Bounds { shared_folder: true, copies: false, ..PAIR };

/// A pair on a token that does not destroy keys, or whose module keeps them loaded.
const UNDESTROYABLE: Bounds = Bounds { destroys: false, cuts: 0, signatures: true, ..PAIR };

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
fn pair_with_one_folder() {
    holds("pair with one folder", SHARED);
}

#[test]
fn spare_that_is_started_when_the_first_is_cut_off() {
    holds("spare", SPARE);
}

#[test]
fn pair_whose_lock_comes_back() {
    holds("pair cut twice", CUT_TWICE);
}

#[test]
fn pair_on_a_token_that_does_not_destroy_keys() {
    holds("undestroyable keys", UNDESTROYABLE);
}

#[test]
fn every_mistake_is_found() {
    for flaw in Flaw::ALL {
        let bounds = match flaw {
            Flaw::NoLock => Bounds { crashes: 0, cuts: 0, ..PAIR },
            Flaw::ReturnWithoutLook => SPARE,
            Flaw::ReturnWithoutWait => CUT_TWICE,
            Flaw::WaitsForDestruction => UNDESTROYABLE,
            _ => PAIR,
        };
        let signatures = flaw.breaks() == PROPERTIES[4];
        let report = check(Bounds { signatures, ..bounds }, Some(flaw));
        eprintln!("{flaw:?}: {} states, {:?}", report.states, report.time);
        let [(property, trace)] = report.violations.as_slice() else {
            panic!("{flaw:?} is not found");
        };
        assert_eq!(*property, flaw.breaks());
        eprintln!("  {}", trace.join("\n  "));
    }
}
