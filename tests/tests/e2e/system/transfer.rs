//! `export` and `import`: any copy of the log restores it, and nothing else does.

use hsmd_chain::Digest;
use hsmd_chain::testing::LogBuilder;
use hsmd_tests::Hsmd;

use crate::system::{WINDOW, endorse, verified};

/// An hsmd whose log has events 0 to `head`, with its identity in the configuration.
async fn of_length(head: u32) -> Hsmd {
    let hsmd = Hsmd::initialised().await;
    let identity = hsmd.init().await;
    let daemon = hsmd.serve().await;
    for _ in 0..head {
        daemon.rotate_head().await;
    }
    daemon.stop().await;
    hsmd.set("identity", identity)
}

/// Writes a copy of a log and names the file.
fn copy(hsmd: &Hsmd, json: &str) -> String {
    let path = hsmd.path("copy");
    std::fs::write(&path, json).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn a_log_moves_to_another_database() {
    let hsmd = of_length(1).await;
    let daemon = hsmd.serve().await;
    let endorsement = endorse(&daemon).await;
    daemon.taint_head().await;
    daemon.stop().await;
    let export = hsmd.export().await;

    let hsmd = hsmd.into_empty_database().await;
    hsmd.forget_journal();
    hsmd.run(&["serve"]).await.ended(65, "the log is lost or this is the wrong database");
    let copy = copy(&hsmd, &export);
    hsmd.run(&["import", &copy]).await.good();
    let record = hsmd.database.admin_rows().await.pop().unwrap();
    assert_eq!((record.action.as_str(), record.sequence_number), ("import", 2));
    assert_eq!(record.file_digest, Some(Digest::of(export.as_bytes()).to_string()));
    hsmd.run(&["import", &copy]).await.good();
    assert_eq!(hsmd.database.admin_rows().await.len(), 1, "there was nothing to import");

    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    let log = hsmd.history().await;
    assert_eq!(log.events().len(), 4);
    assert!(verified(&endorsement, &log).is_none(), "the taint came along");
    assert!(log.is_live(&log.head().event().id(), hsmd_tests::now(), WINDOW));
}

#[tokio::test]
async fn the_missing_events_are_appended() {
    let hsmd = of_length(1).await;
    let backup = hsmd.database.backup().await;
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    daemon.rotate_head().await;
    daemon.stop().await;
    let copy = copy(&hsmd, &(hsmd.export().await + "\n"));
    let hsmd = hsmd.with_database(backup);
    hsmd.run(&["import", &copy]).await.good();
    hsmd.serve().await.rotate_head().await;
    assert_eq!(hsmd.history().await.events().len(), 5);
}

#[tokio::test]
async fn a_bad_copy_changes_nothing() {
    let hsmd = of_length(2).await;
    let good = hsmd.export().await;
    let hsmd = hsmd.into_empty_database().await;
    let other = LogBuilder::of_length("another", 3).to_json();
    let (first, rest) = good.split_once("},{").unwrap();
    let cases = [
        ("", "not verify"),
        ("[]", "not verify"),
        ("{}", "not verify"),
        (other.as_str(), "the log is that of"),
        (&good.replacen("\"signature\":\"0I", "\"signature\":\"0IA", 1), "not verify"),
        (&good.replace(".", ":"), "not verify"),
        (&good.replace("key-authorization", "health"), "not verify"),
        (&format!("[{{{rest}"), "not verify"),
        (&format!("{first}}},{}", &first[1..]), "not verify"),
        (&good[..good.len() - 1], "not verify"),
    ];
    for (json, words) in cases {
        let copy = copy(&hsmd, json);
        hsmd.run(&["import", &copy]).await.refused(words);
        hsmd.run(&["import", "--without-token", &copy]).await.refused(words);
    }
    assert!(hsmd.database.events().await.is_empty());
    hsmd.run(&["import", "/nowhere/copy"]).await.refused("/nowhere/copy");
}

#[tokio::test]
async fn without_a_configured_identity_nothing_is_imported() {
    let hsmd = Hsmd::initialised().await;
    let copy = copy(&hsmd, &hsmd.export().await);
    let hsmd = hsmd.into_empty_database().await;
    hsmd.run(&["import", &copy]).await.refused("set `identity`");
    assert!(hsmd.database.events().await.is_empty());
}

#[tokio::test]
async fn an_older_copy_is_refused() {
    let hsmd = of_length(1).await;
    let old = hsmd.export().await;
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    daemon.rotate_head().await;
    daemon.stop().await;
    let copy = copy(&hsmd, &old);
    hsmd.run(&["import", &copy]).await.refused("the copy does not continue the log");
    assert_eq!(hsmd.history().await.events().len(), 4);

    let hsmd = hsmd.into_empty_database().await;
    hsmd.run(&["import", &copy]).await.refused("the journal knows event 3");
    hsmd.forget_journal();
    hsmd.run(&["import", &copy]).await.refused("the log is older than the token");
    assert!(hsmd.database.events().await.is_empty());
    // A person may vouch for it: but then it does not serve without its token either.
    hsmd.run(&["import", "--without-token", &copy]).await.good();
    assert_eq!(hsmd.database.events().await.len(), 2);
    hsmd.launch(&[]).refused("the log is older than the token").await;
}

#[tokio::test]
async fn a_fork_is_refused() {
    let hsmd = of_length(1).await;
    let (token, database) = (hsmd.token.backup(), hsmd.database.backup().await);
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    daemon.stop().await;
    let theirs = hsmd.export().await;

    // Everything is restored, journal and all: the rotation after that makes another event 2.
    hsmd.token.restore(&token);
    std::fs::remove_dir_all(hsmd.state_dir()).unwrap();
    let hsmd = hsmd.with_database(database).unobserved();
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    daemon.stop().await;
    let ours = hsmd.export().await;
    assert_ne!(ours, theirs);

    let copy = copy(&hsmd, &theirs);
    let diverges = "the copy does not continue the log";
    hsmd.run(&["import", &copy]).await.refused(diverges);
    hsmd.run(&["import", "--without-token", &copy]).await.refused(diverges);
    assert_eq!(hsmd.export().await, ours);
    let hsmd = hsmd.into_empty_database().await;
    hsmd.run(&["import", &copy]).await.refused("two histories of one identity");
    assert!(hsmd.database.events().await.is_empty());
}
