//! The main job: make an identity, endorse, sign, rotate, taint, and verify all of it from outside.

use hsmd_proto::v1::ServingState;
use hsmd_tests::{Hsmd, now};

use crate::system::{DOCUMENT, WINDOW, endorse, verified};

#[tokio::test]
async fn a_stranger_verifies_what_was_signed() {
    let hsmd = Hsmd::fresh().await;
    hsmd.migrate().await;
    let identity = hsmd.init().await;
    let daemon = hsmd.serve().await;

    let endorsement = endorse(&daemon).await;
    let document = daemon.sign(DOCUMENT).await.unwrap();
    let batch = daemon.sign_batch(&[DOCUMENT.into(), DOCUMENT.into()]).await.unwrap();
    let log = daemon.log().await;
    assert_eq!(log.identity().to_string(), identity);
    assert!(verified(&endorsement, &log).unwrap().expiration() > now());
    for signed in batch.iter().chain([&document]) {
        let verified = signed.verify(&log, now(), WINDOW).unwrap();
        assert_eq!((verified.payload(), verified.sequence_number()), (DOCUMENT, 0));
    }
    daemon.stop().await;
    assert_eq!(hsmd.history().await.events().len(), 1);
}

#[tokio::test]
async fn a_rotation_keeps_endorsements_alive_and_a_taint_ends_them() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    let first = endorse(&daemon).await;

    daemon.rotate_head().await;
    let second = endorse(&daemon).await;
    let log = daemon.log().await;
    assert!(verified(&first, &log).is_some(), "in its window");
    assert_eq!(verified(&second, &log).unwrap().body().sequence_number(), 1);

    daemon.taint_head().await;
    let third = endorse(&daemon).await;
    let log = hsmd.history().await;
    assert!(verified(&first, &log).is_some(), "the mark says nothing about earlier generations");
    assert!(verified(&second, &log).is_none(), "tainted");
    assert_eq!(verified(&third, &log).unwrap().body().sequence_number(), 2);
    assert_eq!(hsmd.token.private_keys(), [2, 3]);

    let record = hsmd.database.admin_rows().await;
    let actions = record.iter().map(|row| (row.action.as_str(), row.sequence_number));
    assert_eq!(actions.collect::<Vec<_>>(), [("init", 0), ("rotate", 1), ("taint", 2)]);
    assert_eq!((record[2].caller.as_str(), record[2].reason.as_str()), ("tester", "a test taints"));
}

#[tokio::test]
async fn the_daemon_says_what_it_is() {
    let hsmd = Hsmd::initialised().await.set("retire", "keep");
    let daemon = hsmd.serve().await;
    let head = daemon.rotate_head().await.event().id();
    for service in ["", "hsmd.v1.Signer", "hsmd.v1.KeyLog"] {
        assert!(daemon.is_serving(service).await, "{service:?}");
    }
    let status = daemon.status().await.unwrap();
    assert_eq!(status.state(), ServingState::Serving);
    assert_eq!(status.problems, [""; 0]);
    assert_eq!(status.active_generation_id, head.to_string());
    assert_eq!(status.head_sequence_number, 1);
    assert!(status.tokens[0].ready && status.database.unwrap().lock_held);
    assert_eq!(status.tokens[0].serial, hsmd.token.info().serial);
    assert_eq!(hsmd.token.private_keys(), [0, 1, 2], "retire = keep");

    let identity = status.identity;
    daemon.stop().await;
    assert!(!hsmd.path("service.sock").exists(), "the socket goes with the daemon");
    hsmd.run(&["check"]).await.good();
    let hsmd = hsmd.set("identity", format!("{identity}@1:{head}"));
    let daemon = hsmd.serve().await;
    assert_eq!(daemon.head().await.event().id(), head);
    assert_eq!(hsmd.history().await.events().len(), 2);
}

#[tokio::test]
async fn another_identity_than_the_configured_one_is_refused() {
    let hsmd = Hsmd::initialised().await;
    let other = Hsmd::initialised().await;
    let hsmd = hsmd.set("identity", other.init().await);
    hsmd.launch(&[]).refused("the log is that of").await;
    hsmd.run(&["export"]).await.refused("the log is that of");
    hsmd.run(&["check"]).await.refused("the log is that of");
}

#[tokio::test]
async fn bad_usage_and_configuration_end_with_64() {
    let hsmd = Hsmd::fresh().await;
    hsmd.run(&["sing"]).await.ended(64, "sing");
    hsmd.set("stand_by", true).run(&["check"]).await.ended(64, "unknown field `stand_by`");
}
