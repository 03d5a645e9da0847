//! An unfenced failover, with two real Postgres servers: a replica is promoted while the old primary lives
//! on, with a daemon on each.

use std::sync::Arc;

use hsmd_tests::{Daemon, Database, Hsmd, Observer};

use super::{LEASE, continues, is_silent};
use crate::system::endorse;
use crate::{DOCUMENT, told};

/// A daemon that serves on the primary, one that waits on the replica, and what they are made of.
pub(crate) struct Pair {
    pub(crate) hsmd: Hsmd,
    pub(crate) other: Hsmd,
    pub(crate) first: Daemon,
    pub(crate) second: Daemon,
}

pub(crate) async fn pair() -> Pair {
    let hsmd = Hsmd::fresh_over(Database::create_alone().await).await;
    let hsmd = hsmd.set("standby", true).set("lock_grace", LEASE);
    hsmd.migrate().await;
    hsmd.init().await;
    let replica = hsmd.database.replica().await;
    let other = hsmd.twin().with_database(replica);
    let first = hsmd.serve().await;
    other.database.catch_up_with(&hsmd.database).await;
    let second = other.launch(&[]);
    second.problem("read-only or a hot standby").await;
    Pair { hsmd, other, first, second }
}

/// Once, and 20 times with `--long`.
pub(super) async fn times(play: impl AsyncFn()) {
    let times = if told("HSMD_LONG").is_some() { 20 } else { 1 };
    for _ in 0..times {
        play().await;
    }
}

/// The replica lacks a taint by the first daemon that was answered: it is in its record on the token.
#[tokio::test]
async fn a_taint_that_the_promoted_replica_lacks_is_kept() {
    times(async || {
        let Pair { hsmd, other, first, mut second } = pair().await;
        other.database.cut_off(&hsmd.database, true).await;
        let tainted = first.taint_head().await;
        let ours = first.log().await;
        other.database.promote().await;
        second.ready().await;
        assert_eq!(second.head().await.text(), tainted.text());
        is_silent(&first, &ours).await;
        assert_eq!(second.rotate_head().await.event().sequence_number(), 2);
        endorse(&second).await;
        continues(&ours, &second.log().await);
        one_event_a_number(&hsmd, &other).await;
    })
    .await;
}

/// The second daemon taints while the first one signs as fast as it can.
#[tokio::test]
async fn a_taint_on_the_promoted_replica_silences_the_old_primarys_daemon() {
    times(async || {
        let Pair { hsmd, other, first, mut second } = pair().await;
        first.rotate_head().await;
        other.database.catch_up_with(&hsmd.database).await;
        let ours = first.log().await;
        other.database.promote().await;
        second.ready().await;
        let zero = second.head().await.event().id();
        let tainted = second.taint(zero.as_str()).await.expect("the owner taints").0;
        assert_eq!(tainted.event().sequence_number(), 2);
        for _ in 0..20 {
            first.sign(DOCUMENT).await.expect_err("a signature after the taint's answer");
        }
        is_silent(&first, &ours).await;
        endorse(&second).await;
        continues(&ours, &second.log().await);
        one_event_a_number(&hsmd, &other).await;
    })
    .await;
}

/// The old primary's daemon is asked to rotate in the middle of it: whoever answers, there is one history.
#[tokio::test]
async fn rotations_on_both_sides_of_a_promotion_make_one_history() {
    times(async || {
        let Pair { hsmd, other, first, mut second } = pair().await;
        let zero = first.head().await.event().id();
        let rotating = tokio::spawn({
            let (rpc, zero) = (hsmd.rpc(), zero.to_string());
            async move { drop(rpc.rotate(&zero).await) }
        });
        other.database.promote().await;
        rotating.await.unwrap();
        // By its database: the first one may show no log any more.
        let ours = hsmd.history().await;
        second.ready().await;
        is_silent(&first, &ours).await;
        second.rotate_head().await;
        second.rotate_head().await;
        endorse(&second).await;
        one_event_a_number(&hsmd, &other).await;
    })
    .await;
}

/// In both databases, and in what anybody was ever shown.
async fn one_event_a_number(hsmd: &Hsmd, other: &Hsmd) {
    let observer: &Arc<Observer> = &hsmd.observer;
    for (place, database) in [("the old primary", &hsmd.database), ("the replica", &other.database)]
    {
        for event in database.events().await {
            observer.note(place, event);
        }
    }
    observer.history();
}
