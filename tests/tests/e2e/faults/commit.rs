//! The connection ends in the middle of a rotation's transaction, and nobody knows what became of it.
//! The event is in the journal by then: one text, however often it has to be sent.

use hsmd_tests::{Daemon, Hsmd, Toll, until};

use crate::faults::database::behind_a_proxy;
use crate::faults::seen::{SOON, is_ready};
use crate::faults::{Seen, faults};

faults! {
    "A transaction that is cut off":
    cut_before_commit: "the connection is cut between INSERT and COMMIT", "nothing";
    commit_lost: "COMMIT does not arrive (rotate)", "nothing";
    answer_lost: "COMMIT arrives, its answer does not (rotate)", "nothing";
    taint_commit_lost: "COMMIT does not arrive (taint)", "nothing";
    taint_answer_lost: "COMMIT arrives, its answer does not (taint)", "nothing";
    killed_while_unknown: "kill -9 while a COMMIT's outcome is unknown", "nothing";
}

async fn cut_before_commit() -> Seen {
    let (hsmd, mut seen) = (Hsmd::initialised().await, Seen::default());
    let mut daemon = hsmd.launch_until("rotation::before-commit=1*sleep(3000)");
    daemon.ready().await;
    let zero = daemon.head().await.event().id();
    let rotating = tokio::task::spawn_local({
        let rpc = hsmd.rpc();
        async move { rpc.rotate(zero.as_str()).await }
    });
    until("the transaction is open", async || {
        hsmd.database.has_open_transaction().await.then_some(())
    })
    .await;
    hsmd.database.cut_connections().await;
    let refusal = rotating.await.unwrap().expect_err("the transaction was cut");
    seen.refused("Rotate", &refusal);
    assert_eq!(refusal.reason, "DATABASE_UNAVAILABLE");
    ends_well(&mut seen, &hsmd, &daemon, zero.as_str(), false).await;
    seen.nothing_lost(&hsmd, 3).await
}

async fn commit_lost() -> Seen {
    loses(Toll::Commit, false).await
}

async fn answer_lost() -> Seen {
    loses(Toll::CommitAnswer, false).await
}

async fn taint_commit_lost() -> Seen {
    loses(Toll::Commit, true).await
}

async fn taint_answer_lost() -> Seen {
    loses(Toll::CommitAnswer, true).await
}

async fn loses(toll: Toll, taint: bool) -> Seen {
    let ((hsmd, proxy), mut seen) = (behind_a_proxy().await, Seen::default());
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await.event().id();
    proxy.take(toll);
    // What happens while the outcome is unknown is seen in peace: nobody gets through to find out.
    proxy.then_take(Toll::Everything);
    if taint {
        seen.taints(&daemon, zero.as_str(), true).await;
        seen.signs(&daemon).await;
    } else {
        seen.refuses_to_rotate(&daemon, zero.as_str(), "DATABASE_UNAVAILABLE").await;
        seen.signs(&daemon).await;
        is_ready(&daemon).await;
    }
    assert_eq!(proxy.taken(), 1);
    proxy.take(Toll::Nothing);
    ends_well(&mut seen, &hsmd, &daemon, zero.as_str(), taint).await;
    seen.nothing_lost(&hsmd, 3).await
}

/// The same call again has the one event for an answer, and nothing is in the way of the next.
async fn ends_well(seen: &mut Seen, hsmd: &Hsmd, daemon: &Daemon, zero: &str, taint: bool) {
    let (one, performed) = seen
        .heals_within(SOON, async || match taint {
            true => daemon.taint(zero).await.ok(),
            false => daemon.rotate(zero).await.ok(),
        })
        .await;
    assert!(!performed, "the first call had signed it");
    assert_eq!((one.event().sequence_number(), one.event().taint_previous()), (1, taint));
    assert_eq!(hsmd.token.private_keys(), [1, 2], "key 0 is gone");
    seen.signs(daemon).await;
    // Of a taint the row may be still to come.
    let two = seen.rotates_within(SOON, daemon, one.event().id().as_str()).await;
    assert_eq!(two.event().sequence_number(), 2, "nothing is in the way of the next");
}

async fn killed_while_unknown() -> Seen {
    let ((hsmd, proxy), mut seen) = (behind_a_proxy().await, Seen::default());
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await.event().id();
    proxy.take(Toll::CommitAnswer);
    proxy.then_take(Toll::Everything);
    seen.taints(&daemon, zero.as_str(), true).await;
    daemon.kill().await;
    proxy.take(Toll::Nothing);
    let daemon = hsmd.launch(&[]);
    seen.signs_within(SOON, &daemon).await;
    let (one, performed) = daemon.taint(zero.as_str()).await.unwrap();
    assert!(!performed && one.event().taint_previous());
    seen.nothing_lost(&hsmd, 2).await
}
