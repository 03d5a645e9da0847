//! `hsmd clear-branch` beside daemons that use the token: with another database, or from the same state folder.

use hsmd_tests::Hsmd;

use crate::system::ownership::OWNED;

/// A host with the losing branch, before a new database, and the winner's: another host, which goes on from
/// the same token with another database. The first event that loses, too.
async fn two_hosts() -> (Hsmd, Hsmd, String) {
    let hsmd = Hsmd::initialised().await;
    let identity = hsmd.init().await;
    let (token, database) = (hsmd.token.backup(), hsmd.database.backup().await);
    let daemon = hsmd.serve().await;
    let losing = daemon.rotate_head().await.event().id().to_string();
    daemon.stop().await;
    hsmd.token.restore(&token);
    let hsmd = hsmd.set("identity", identity);
    let winner = hsmd.twin().with_database(database).unobserved();
    (hsmd.unobserved().into_empty_database().await, winner, losing)
}

#[tokio::test]
async fn nothing_is_cleared_while_another_daemon_may_be_serving() {
    let (loser, winner, losing) = two_hosts().await;
    let daemon = winner.serve().await;
    daemon.rotate_head().await;
    let keep = loser.path("keep.json");
    std::fs::write(&keep, daemon.log().await.to_json()).unwrap();
    let keep = keep.display().to_string();
    let clear = ["clear-branch", &keep, "--discard", &losing];
    let refused = loser.run(&clear).await;
    assert!(refused.stderr.contains(OWNED), "{refused:?}");
    refused.refused("stop it and repeat");
    daemon.rotate_head().await;
    daemon.kill().await;
    loser.run(&clear).await.refused("an event that follows the log's head");
    std::fs::write(loser.path("keep.json"), winner.export().await).unwrap();
    loser.run(&clear).await.refused("repeat with --take-over-token");
    loser.run(&[clear.as_slice(), &["--take-over-token"]].concat()).await.good();
    let daemon = winner.serve().await;
    daemon.rotate_head().await;
    assert_eq!(winner.history().await.events().len(), 4);
}

#[tokio::test]
async fn nothing_is_cleared_beside_a_daemon_from_the_same_folder() {
    let (loser, winner, losing) = two_hosts().await;
    let daemon = winner.serve().await;
    daemon.rotate_head().await;
    let keep = winner.path("keep.json");
    std::fs::write(&keep, daemon.log().await.to_json()).unwrap();
    let state_dir = winner.state_dir().display().to_string();
    let beside = loser.set("state_dir", state_dir);
    let keep = keep.display().to_string();
    let cleared = beside.run(&["clear-branch", &keep, "--discard", &losing]).await;
    cleared.refused("another process has the lock of");
    daemon.rotate_head().await;
}
