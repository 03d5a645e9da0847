//! The orders in which SoftHSM hides one claim from another: a process that has just changed something does
//! not see what another changed since its own last look, until that one changes something again. The fault
//! module holds a process between its look and its change.

use hsmd_fault::{Control, Scope, Times};
use hsmd_tests::{Daemon, Hsmd, until};

use super::promotion::times;
use super::{LEASE, OWNED, claims, other_site};
use crate::system::endorse;

/// A daemon's side: its hsmd, and what holds it before a change of the token.
struct Side {
    hsmd: Hsmd,
    faults: Control,
}

impl Side {
    fn of(hsmd: Hsmd) -> Self {
        // A call that is held must not end the process.
        let hsmd = hsmd.set("token.0.hang_limit", "5m");
        let (hsmd, faults) = hsmd.with_faults();
        Self { hsmd, faults }
    }

    /// The first change of a claim is its record, the second one is rule 5's. Holds it before this one.
    fn hold_before(&self, change: u32) {
        self.faults.hang(make(), Times::next(1).after(change - 1)).unwrap();
    }

    async fn is_held(&self) {
        until("it has looked and is about to change", async || {
            let status = self.faults.status();
            status.functions.get(MAKE).is_some_and(|function| function.hung > 0)
        })
        .await;
    }

    fn go_on(&self) {
        self.faults.release().unwrap();
    }

    /// Its first claim has been looked at, and its second change begins.
    async fn begins_second_change(&self) {
        until("it begins a change", async || self.faults.calls(MAKE).unwrap() >= 2).await;
    }

    /// It has replaced its first record, or taken it back.
    async fn has_changed_again(&self) {
        let destroyed = || self.faults.calls("C_DestroyObject").unwrap();
        until("its first record goes", async || destroyed() >= 1).await;
    }
}

const MAKE: &str = "C_CreateObject";

fn make() -> Scope {
    MAKE.parse().unwrap()
}

/// Two sites, each with a database that does not name the other's claim.
async fn sites() -> (Side, Side) {
    let hsmd = Hsmd::initialised().await.set("lock_grace", LEASE).set("claim_wait", "1s");
    let other = other_site(&hsmd, false).await;
    (Side::of(hsmd), Side::of(other))
}

/// A claims and looks. B, whose last look was before, claims and looks, while A waits.
#[tokio::test]
async fn a_claim_behind_a_look_that_came_before_the_other_claim() {
    times(async || {
        let (a, b) = sites().await;
        b.hold_before(1);
        let second = b.hsmd.launch(&[]);
        b.is_held().await;
        let first = a.hsmd.launch(&[]);
        a.begins_second_change().await;
        b.go_on();
        one_owner(&a, &b, first, second).await;
    })
    .await;
}

/// The same, and A's next own change hides B's second change from it.
#[tokio::test]
async fn an_own_change_that_hides_the_others_second_change() {
    times(async || {
        let (a, b) = sites().await;
        b.hold_before(1);
        let second = b.hsmd.launch(&[]);
        b.is_held().await;
        a.hold_before(2);
        let first = a.hsmd.launch(&[]);
        a.is_held().await;
        b.go_on();
        b.has_changed_again().await;
        a.go_on();
        one_owner(&a, &b, first, second).await;
    })
    .await;
}

/// A person takes the token over for A while B is about to make its extra change, which hides A's record.
#[tokio::test]
async fn an_extra_change_that_hides_the_others_record() {
    times(async || {
        let (a, b) = sites().await;
        b.hold_before(2);
        let second = b.hsmd.launch(&[]);
        b.is_held().await;
        let first = a.hsmd.launch(&["--take-over-token"]);
        a.begins_second_change().await;
        b.go_on();
        let owner = one_owner(&a, &b, first, second).await;
        assert_eq!(owner, "first", "the epoch of the take-over is the higher one");
    })
    .await;
}

/// One of them comes to own the token, and only one ever does; the other says whose it is. Which one.
async fn one_owner(a: &Side, b: &Side, mut first: Daemon, mut second: Daemon) -> &'static str {
    until("one of them is refused", async || !first.is_alive() || !second.is_alive()).await;
    let ((name, mut owner), refused) = match first.is_alive() {
        true => (("first", first), second),
        false => (("second", second), first),
    };
    owner.ready().await;
    assert_eq!((claims(&owner), claims(&refused)), (1, 0));
    refused.refused(OWNED).await;
    endorse(&owner).await;
    owner.rotate_head().await;
    let (ours, theirs) = (a.hsmd.database.events().await, b.hsmd.database.events().await);
    let common = ours.len().min(theirs.len());
    assert_eq!(ours[..common], theirs[..common], "one event a number");
    assert_eq!(ours.len() + theirs.len(), 3, "one of them rotated");
    name
}
