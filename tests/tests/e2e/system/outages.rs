//! What the daemon waits for, what it goes on without, and how it stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hsmd_proto::v1;
use hsmd_tests::{Database, Hsmd, now, until};
use nix::sys::signal::Signal;
use tokio::task::JoinSet;

use crate::system::{DOCUMENT, WINDOW};

async fn with_a_server_of_its_own() -> Hsmd {
    let hsmd = Hsmd::fresh().await.with_database(Database::create_alone().await);
    hsmd.migrate().await;
    hsmd.init().await;
    hsmd
}

#[tokio::test]
async fn a_start_waits_for_the_database() {
    let hsmd = with_a_server_of_its_own().await;
    hsmd.database.stop_server();
    hsmd.run(&["check"]).await.refused("cannot connect to the database");
    let mut daemon = hsmd.launch(&[]);
    let status = daemon.problem("waiting for the database").await;
    assert_eq!(status.state(), v1::ServingState::Starting);
    assert!(!daemon.is_serving("").await && !daemon.is_serving("hsmd.v1.KeyLog").await);
    assert_eq!(daemon.sign(DOCUMENT).await.unwrap_err().reason, "STARTING");
    hsmd.database.start_server();
    daemon.ready().await;
    daemon.rotate_head().await;
    assert_eq!(hsmd.history().await.events().len(), 2);
}

#[tokio::test]
async fn without_the_database_it_signs_but_does_not_rotate() {
    let hsmd = with_a_server_of_its_own().await;
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await.event().id();
    hsmd.database.stop_server();
    daemon.problem("database").await;
    let signed = daemon.sign(DOCUMENT).await.unwrap();
    assert!(daemon.is_serving("").await);
    let refusal = daemon.rotate(zero.as_str()).await.unwrap_err();
    assert_eq!(refusal.reason, "DATABASE_UNAVAILABLE");
    hsmd.database.start_server();
    let (one, _) =
        until("it rotates again", async || daemon.rotate(zero.as_str()).await.ok()).await;
    assert_eq!(one.event().sequence_number(), 1);
    let log = hsmd.history().await;
    signed.verify(&log, now(), WINDOW).unwrap();
    assert_eq!(log.events().len(), 2);
}

#[tokio::test]
async fn a_cut_connection_is_made_again() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    for number in 1..=5 {
        let head = daemon.head().await.event().id();
        hsmd.database.cut_connections().await;
        let (event, _) =
            until("it rotates again", async || daemon.rotate(head.as_str()).await.ok()).await;
        assert_eq!(event.event().sequence_number(), number);
    }
    assert_eq!(hsmd.history().await.events().len(), 6);
}

#[tokio::test]
async fn a_stop_finishes_what_was_accepted() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let hsmd = Hsmd::initialised().await;
        let daemon = hsmd.serve().await;
        let request = v1::WatchEventsRequest { from_sequence: 0 };
        let mut watch = daemon.key_log.clone().watch_events(request).await.unwrap().into_inner();
        let stopping = Arc::<AtomicBool>::default();
        let mut callers = JoinSet::new();
        for _ in 0..16 {
            let (rpc, stopping) = (hsmd.rpc(), Arc::clone(&stopping));
            callers.spawn(async move {
                loop {
                    match rpc.sign(DOCUMENT).await {
                        Ok(_) => {}
                        Err(refusal) => {
                            assert!(stopping.load(Ordering::SeqCst), "{refusal:?}");
                            return refusal;
                        }
                    }
                }
            });
        }
        daemon.rotate_head().await;
        stopping.store(true, Ordering::SeqCst);
        daemon.signal(signal);
        for refusal in callers.join_all().await {
            // By the daemon, or by a connection that is no more.
            assert!(matches!(refusal.reason.as_str(), "STOPPING" | ""), "{refusal:?}");
        }
        let end = loop {
            match watch.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a watch ends with a reason"),
                Err(status) => break hsmd_tests::Refusal::from(status),
            }
        };
        assert_eq!(end.reason, "STOPPING");
        let (status, log) = daemon.ended().await;
        assert!(status.success() && log.ends_with("stopped\n"), "{log}");
        assert!(!hsmd.path("service.sock").exists() && !hsmd.path("admin.sock").exists());
        hsmd.serve().await.rotate_head().await;
        assert_eq!(hsmd.history().await.events().len(), 3);
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_what_is_down() {
    let hsmd = Hsmd::initialised().await;
    hsmd.write_pin("13579-wrong");
    let daemon = hsmd.launch(&[]);
    daemon.problem("refused the PIN").await;
    daemon.stop().await;
}
