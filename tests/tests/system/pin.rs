//! The PIN rule: a wrong PIN means exactly one C_Login, also across restarts, and no death.

use hsmd_proto::v1::ServingState;
use hsmd_tests::{Daemon, Hsmd, until};

use crate::DOCUMENT;

/// Long enough for several of the daemon's looks at the token, which come every half second.
async fn has_looked_again(daemon: &Daemon) {
    until("the daemon has had time to look again", async || {
        (daemon.status().await.ok()?.uptime_seconds >= 3).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_wrong_pin_is_tried_once_and_its_correction_heals() {
    let hsmd = Hsmd::initialised().await;
    hsmd.write_pin("13579-wrong");
    let mut daemon = hsmd.launch(&[]);
    let status = daemon.problem("refused the PIN").await;
    assert_eq!(status.state(), ServingState::Starting);
    assert!(!status.tokens[0].ready);
    assert!(status.tokens[0].problem.contains("PIN"), "{}", status.tokens[0].problem);
    assert!(hsmd.token.info().user_pin_count_low, "it was tried");

    // A good login takes the flag down: up again, it would tell of a second try.
    hsmd.token.objects();
    assert!(!hsmd.token.info().user_pin_count_low);
    has_looked_again(&daemon).await;
    assert!(daemon.is_alive() && !daemon.is_serving("").await);
    assert_eq!(daemon.sign(DOCUMENT).await.unwrap_err().reason, "STARTING");
    daemon.kill().await;
    let mut daemon = hsmd.launch(&[]);
    daemon.problem("refused the PIN").await;
    has_looked_again(&daemon).await;
    hsmd.run(&["check"]).await.refused("refused the PIN");
    assert!(!hsmd.token.info().user_pin_count_low, "it was not tried again");

    hsmd.correct_pin();
    daemon.ready().await;
    daemon.sign(DOCUMENT).await.unwrap();
    assert_eq!(daemon.status().await.unwrap().problems, [""; 0]);
}

#[tokio::test]
async fn another_wrong_pin_is_another_try() {
    let hsmd = Hsmd::initialised().await;
    for pin in ["13579-wrong", "also wrong"] {
        hsmd.write_pin(pin);
        hsmd.run(&["check"]).await.refused("refused the PIN");
        assert!(hsmd.token.info().user_pin_count_low, "{pin}");
        hsmd.token.objects();
        hsmd.run(&["check"]).await.refused("refused the PIN");
        assert!(!hsmd.token.info().user_pin_count_low, "{pin}: tried again");
    }
    hsmd.correct_pin();
    hsmd.run(&["check"]).await.good();
}

#[tokio::test]
async fn a_death_before_the_answer_forbids_another_try_only_if_the_pin_was_wrong() {
    let hsmd = Hsmd::initialised().await;
    hsmd.launch_until("pin::before-login").died().await;
    hsmd.serve().await.sign(DOCUMENT).await.unwrap();

    // As if the daemon had died in the middle of a wrong login: the marker and the token's flag.
    hsmd.write_pin("13579-wrong");
    hsmd.launch_until("pin::before-login").died().await;
    let wrong = hsmd.twin();
    wrong.write_pin("also wrong");
    wrong.run(&["check"]).await.refused("refused the PIN");
    assert!(hsmd.token.info().user_pin_count_low);
    hsmd.run(&["check"]).await.refused("refused the PIN");
    hsmd.token.objects();
    hsmd.launch(&[]).problem("refused the PIN").await;
    let refused_by_the_token = std::fs::read_dir(hsmd.state_dir())
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok())
        .any(|text| text.contains(r#""refused":true"#));
    assert!(refused_by_the_token, "with the flag down, a marker of a crash does not forbid a try");
}

#[tokio::test]
async fn a_pin_that_others_can_read_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let hsmd = Hsmd::initialised().await;
    let admit = |mode| std::fs::set_permissions(hsmd.path("pin"), PermissionsExt::from_mode(mode));
    admit(0o644).unwrap();
    hsmd.run(&["check"]).await.refused("admits others");
    let mut daemon = hsmd.launch(&[]);
    daemon.problem("admits others").await;
    admit(0o400).unwrap();
    daemon.ready().await;
}
