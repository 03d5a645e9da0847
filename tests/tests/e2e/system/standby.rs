//! Two daemons on one database and token: one serves, the other waits or refuses.

use std::time::{Duration, Instant};

use hsmd_fault::Times;
use hsmd_proto::v1::ServingState;
use hsmd_softhsm::Class;
use hsmd_tests::{Daemon, Hsmd, now, until, within};
use nix::sys::signal::Signal;
use tonic::Code;

use crate::system::{DOCUMENT, WINDOW};

/// The default of `lock_grace`.
const LOCK_GRACE: Duration = Duration::from_secs(3);

/// `lock_grace`, the second that is added to it, and a start on a loaded machine.
const TAKE_OVER: Duration = Duration::from_secs(15);

/// Passed only by a daemon that may have had another before it.
pub(crate) const KILL_POINT: &str = "start::waited";

async fn pair() -> (Hsmd, Hsmd) {
    let hsmd = Hsmd::initialised().await.set("standby", true);
    let twin = hsmd.twin();
    (hsmd, twin)
}

pub(crate) async fn stands_by(daemon: &Daemon) {
    until("the second daemon stands by", async || {
        let status = daemon.status().await.ok()?;
        (status.state() == ServingState::Standby && !status.identity.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_second_waits_and_takes_over_from_the_killed_first() {
    let (hsmd, twin) = pair().await;
    let first = hsmd.serve().await;
    let second = twin.launch(&[]);
    stands_by(&second).await;

    let one = first.rotate_head().await;
    until("the second follows", async || (second.head().await == one).then_some(())).await;
    assert!(second.is_serving("hsmd.v1.KeyLog").await, "it serves reads");
    assert!(!second.is_serving("").await && !second.is_serving("hsmd.v1.Signer").await);
    let refusal = second.sign(DOCUMENT).await.unwrap_err();
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::Unavailable, "STANDBY"));
    let refusal = second.rotate(one.event().id().as_str()).await.unwrap_err();
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::Unavailable, "STANDBY"));
    assert!(!second.status().await.unwrap().tokens[0].ready, "no login before it has the lock");

    first.kill().await;
    within(TAKE_OVER, "the second serves", async || second.is_serving("").await.then_some(()))
        .await;
    let signed = second.sign(DOCUMENT).await.unwrap();
    second.rotate_head().await;

    let first = hsmd.launch(&[]);
    stands_by(&first).await;
    second.stop().await;
    within(TAKE_OVER, "the first is back", async || first.is_serving("").await.then_some(())).await;
    first.rotate_head().await;
    let log = hsmd.history().await;
    assert_eq!(log.events().len(), 4);
    assert_eq!(signed.verify(&log, now(), WINDOW).unwrap().sequence_number(), 1);
}

#[tokio::test]
async fn killed_while_it_takes_over_it_takes_over_again() {
    let (hsmd, twin) = pair().await;
    let mut first = hsmd.launch_until("rotation::journaled");
    first.ready().await;
    let second = twin.launch_until(KILL_POINT);
    stands_by(&second).await;
    let zero = first.head().await.event().id();
    first.taint(zero.as_str()).await.unwrap_err();
    first.died().await;
    second.died().await;
    let second = twin.serve().await;
    assert!(second.head().await.event().taint_previous(), "the token told the other machine");
    second.rotate_head().await;
    assert_eq!(hsmd.history().await.events().len(), 3);
}

#[tokio::test]
async fn a_daemon_that_slept_through_the_loss_of_its_lock_signs_nothing() {
    let (hsmd, twin) = pair().await;
    let first = hsmd.serve().await;
    let second = twin.launch(&[]);
    stands_by(&second).await;

    first.freeze().await;
    let sleeping = first.clone();
    let asleep = tokio::spawn(async move { sleeping.sign(DOCUMENT).await });
    hsmd.database.cut_connections().await;
    until("the second serves", async || second.is_serving("").await.then_some(())).await;
    first.signal(Signal::SIGCONT);
    asleep.await.unwrap().expect_err("asked while it slept, answered without a lock");
    until("the first has noticed", async || {
        // It may also have ended: then its supervisor starts it anew, to stand by.
        let refusal = first.sign(DOCUMENT).await.expect_err("there is another daemon");
        (refusal.code == Code::Unavailable).then_some(())
    })
    .await;
    second.rotate_head().await;
    let (status, log) = first.ended().await;
    assert_eq!(status.code(), Some(1), "{log}");
    let first = hsmd.launch(&[]);
    stands_by(&first).await;
    assert_eq!(hsmd.history().await.events().len(), 2);
}

#[tokio::test]
async fn without_standby_the_second_refuses() {
    let hsmd = Hsmd::initialised().await;
    let identity = hsmd.init().await;
    let twin = hsmd.twin();
    let mut first = hsmd.serve().await;
    std::fs::write(twin.path("copy"), hsmd.export().await).unwrap();
    let another = "another hsmd holds the writer lock";
    twin.run(&["init"]).await.refused(another);
    let copy = twin.path("copy").display().to_string();
    twin.launch(&[]).refused(another).await;
    twin.set("identity", identity).run(&["import", &copy]).await.refused(another);
    assert!(first.is_alive());
    first.rotate_head().await;
    assert_eq!(hsmd.history().await.events().len(), 2);
}

#[tokio::test]
async fn without_standby_a_second_on_the_same_sockets_refuses() {
    let hsmd = Hsmd::initialised().await;
    let first = hsmd.serve().await;
    hsmd.launch(&[]).refused("a process is listening on").await;
    first.sign(DOCUMENT).await.unwrap();
}

#[tokio::test]
async fn a_restart_does_not_wait_for_a_person() {
    let hsmd = Hsmd::initialised().await;
    for _ in 0..3 {
        let daemon = hsmd.serve().await;
        daemon.rotate_head().await;
        daemon.kill().await;
    }
    assert_eq!(hsmd.history().await.events().len(), 4);
}

#[tokio::test]
async fn what_took_long_asks_for_the_lock_again_before_it_destroys() {
    // The daemon's own signatures must not meet the fault first.
    let hsmd = Hsmd::initialised().await.set("token.0.health_interval", "30s");
    let (hsmd, faults) = hsmd.set("standby", true).with_faults();
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await.event().id();
    // A rotation that begins and fails; then half of a key is there.
    faults.corrupt("C_Sign".parse().unwrap(), Times::next(1)).unwrap();
    daemon.rotate(zero.as_str()).await.expect_err("the new pair does not sign");
    hsmd.token.generate(2);
    hsmd.token.destroy_half(2, Class::Private);
    let halves = || {
        let objects = hsmd.token.objects();
        objects.iter().filter(|object| object.id.as_deref() == Some("00000002")).count()
    };

    // A search of a rotation hangs, and meanwhile the proof runs out.
    faults.hang("C_FindObjectsInit".parse().unwrap(), Times::next(1).after(4)).unwrap();
    let rotating = tokio::spawn({
        let (rpc, zero) = (hsmd.rpc(), zero.to_string());
        async move { rpc.rotate(&zero).await }
    });
    until("it looks for the key", async || {
        (faults.status().function("C_FindObjectsInit").hung == 1).then_some(())
    })
    .await;
    let since = Instant::now();
    until("the lease has expired", async || (since.elapsed() > LOCK_GRACE).then_some(())).await;
    faults.release().unwrap();
    let refusal = rotating.await.unwrap().unwrap_err();
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::Unavailable, "LOCK_LOST"));
    assert_eq!(halves(), 1, "the other daemon may be at it");

    until("it has the proof again", async || daemon.rotate(zero.as_str()).await.ok()).await;
    assert_eq!((hsmd.token.private_keys(), halves()), (vec![1, 2], 2));
    assert_eq!(hsmd.history().await.events().len(), 2);
}
