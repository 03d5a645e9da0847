//! A database that has lost events heals from the log in `state_dir`: no import, no copy of somebody else.

use hsmd_tests::{Hsmd, until, within};

use crate::faults::history::rotated;
use crate::faults::seen::LOCK_PASSES;
use crate::system::standby::stands_by;

/// What the records say was done, in order.
async fn actions(hsmd: &Hsmd) -> Vec<String> {
    let records = hsmd.database.admin_rows().await;
    records.into_iter().map(|record| record.action).collect()
}

#[tokio::test]
async fn a_standby_fills_what_a_failover_has_lost() {
    let hsmd = Hsmd::initialised().await.set("standby", true);
    let first = hsmd.serve().await;
    let (one, twin) = (first.rotate_head().await, hsmd.twin());
    let second = twin.launch(&[]);
    stands_by(&second).await;
    assert_eq!(first.head().await, one);
    first.rotate_head().await;
    let three = first.taint_head().await;
    // It may show no log for a moment, for during the taint its own was not known to be whole.
    until("the second follows", async || second.shown_head().await.as_ref() == Some(&three)).await;
    first.kill().await;
    // The replica that takes over has not got the newest two.
    let lose = |table| format!("DELETE FROM {table} WHERE sequence_number > 1");
    hsmd.database.tamper(&lose("admin_action")).await;
    hsmd.database.tamper(&lose("event")).await;
    within(LOCK_PASSES, "the second serves", async || second.is_serving("").await).await;
    assert_eq!(second.head().await, three, "readers see no rollback");
    assert_eq!(actions(&twin).await, ["init", "rotate", "recovered", "taint"]);
    second.rotate_head().await;
    assert_eq!(hsmd.history().await.events().len(), 5);
}

#[tokio::test]
async fn an_empty_table_is_filled_only_for_the_configured_identity_and_its_token() {
    let (hsmd, daemon) = rotated(2).await;
    daemon.stop().await;
    let old = hsmd.token.backup();
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    daemon.stop().await;
    let new = hsmd.token.backup();
    let hsmd = hsmd.into_empty_database().await;
    let lost = "the log is lost or this is the wrong database";

    let unnamed = hsmd.unset("identity");
    unnamed.launch(&[]).refused(lost).await;
    unnamed.token.restore(&old);
    // With the head that readers remember.
    let anchor = unnamed.observer.history().anchor().to_string();
    let hsmd = unnamed.set("identity", anchor);
    hsmd.launch(&[]).refused(lost).await;
    hsmd.run(&["check"]).await.refused(lost);
    assert!(
        hsmd.database.events().await.is_empty(),
        "nothing is appended that the token contradicts"
    );

    hsmd.token.restore(&new);
    let daemon = hsmd.serve().await;
    assert_eq!(hsmd.database.events().await.len(), 4);
    daemon.rotate_head().await;
    assert_eq!(hsmd.history().await.events().len(), 5);
}

#[tokio::test]
async fn a_folder_that_contradicts_the_rows_ends_the_start() {
    let hsmd = Hsmd::initialised().await;
    let (token, database) = (hsmd.token.backup(), hsmd.database.backup().await);
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    daemon.stop().await;
    let kept = hsmd.path("kept");
    std::fs::rename(hsmd.state_dir(), &kept).expect("move the state folder away");
    hsmd.token.restore(&token);
    let hsmd = hsmd.with_database(database).unobserved();
    hsmd.serve().await.rotate_head().await;
    hsmd.forget_journal();
    std::fs::rename(&kept, hsmd.state_dir()).expect("move it back");
    hsmd.launch(&[]).refused("two histories of one identity").await;
    hsmd.run(&["check"]).await.refused("two histories of one identity");
}
