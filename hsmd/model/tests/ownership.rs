//! The token's one owner: every interleaving within the bounds, and the mistakes that must be found.
#![expect(clippy::print_stderr, reason = "the state counts are worth seeing")]
#![expect(clippy::disallowed_methods, reason = "`scripts/test --long` says so in the environment")]

use hsmd_model::check_ownership;
use hsmd_model::ownership::{Bounds, Flaw, PROPERTIES};

/// A replica is promoted while the old primary lives on; both rotate or taint.
const FAILOVER: Bounds = Bounds {
    promotes: true,
    lags: true,
    admin_requests: 2,
    taints_only: false,
    crashes: 0,
    claims: 2,
    take_overs: 0,
    destroys: true,
    journaled: true,
    signatures: false,
    alone: false,
    early: false,
};

/// No process dies, a person takes the token over, keys stay on it.
const TAKE_OVER: Bounds = Bounds {
    lags: false,
    admin_requests: 1,
    taints_only: true,
    take_overs: 1,
    destroys: false,
    signatures: true,
    ..FAILOVER
};

/// One database, one crash, two taints of which none need reach it.
const CRASH: Bounds = Bounds { promotes: false, crashes: 1, taints_only: true, ..FAILOVER };

/// The same, where a start shows its log before it has looked at the token.
const EARLY: Bounds = Bounds { early: true, ..CRASH };

/// Two databases, a crash, and a start that waits for its database makes a taint, or two.
const ALONE: Bounds = Bounds { crashes: 1, taints_only: true, alone: true, ..FAILOVER };

/// The first two where records are key pairs: a promoted replica that lacks the newest event shows it by nothing
/// but the keys. Keys stay, as with `retire = "keep"`, or go.
const PAIRS: Bounds = Bounds { journaled: false, ..FAILOVER };
const PAIRS_KEPT: Bounds = Bounds { journaled: false, destroys: false, ..FAILOVER };
const PAIRS_CRASH: Bounds = Bounds { journaled: false, ..ALONE };

/// Both claim at once, again and again.
const RACE: Bounds = Bounds { admin_requests: 0, claims: 4, take_overs: 2, ..FAILOVER };

/// A process dies in the middle of a claim and is started again.
const CRASHED_CLAIM: Bounds = Bounds { crashes: 1, admin_requests: 0, claims: 3, ..FAILOVER };

fn holds(name: &str, bounds: Bounds) {
    let report = check_ownership(bounds, None);
    eprintln!("{name}: {} states, depth {}, {:?}", report.states, report.depth, report.time);
    assert!(report.violations.is_empty(), "{name}: {:#?}", report.violations);
    assert!(report.complete, "{name}: not every state was looked at");
}

#[test]
fn unfenced_failover() {
    holds("failover", FAILOVER);
}

#[test]
fn take_over_by_a_person() {
    holds("take over", TAKE_OVER);
}

#[test]
fn claims_at_once() {
    let long = std::env::var_os("HSMD_LONG").is_some();
    holds("race", RACE);
    holds("crashed claim", CRASHED_CLAIM);
    if long {
        holds("race with a crash", Bounds { crashes: 1, claims: 3, take_overs: 1, ..RACE });
        holds("failover with a crash", Bounds { crashes: 1, ..FAILOVER });
    }
}

#[test]
fn records_that_are_key_pairs() {
    holds("pairs", PAIRS);
    holds("pairs, keys stay", PAIRS_KEPT);
    holds("pairs, with a crash", PAIRS_CRASH);
}

#[test]
fn crash_with_pending_taints() {
    holds("crash", CRASH);
    holds("crash, shown early", EARLY);
}

#[test]
fn a_taint_before_the_database_is_back() {
    holds("alone", ALONE);
}

#[test]
fn every_mistake_is_found() {
    for flaw in Flaw::ALL {
        let wanted = flaw.breaks();
        let bounds = match flaw {
            Flaw::OnlyTheNewestPending | Flaw::DestroyBeforeMake | Flaw::PublishRowsAtStart => {
                CRASH
            }
            Flaw::ShowUnmerged => EARLY,
            Flaw::EqualEpochsStay => RACE,
            Flaw::UnfencedReplies => TAKE_OVER,
            Flaw::KeptBeforeTaken | Flaw::ResumeWithoutLook => CRASHED_CLAIM,
            Flaw::NoTable => PAIRS,
            _ => FAILOVER,
        };
        let report =
            check_ownership(Bounds { signatures: wanted == PROPERTIES[2], ..bounds }, Some(flaw));
        eprintln!("{flaw:?}: {} states, {:?}", report.states, report.time);
        let [(property, trace)] = report.violations.as_slice() else {
            panic!("{flaw:?} is not found");
        };
        assert_eq!(*property, wanted);
        eprintln!("  {}", trace.join("\n  "));
    }
}
