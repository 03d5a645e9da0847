//! The PIN rule: a wrong PIN means exactly one C_Login, also across restarts, and no death.

use std::os::unix::fs::PermissionsExt;

use hsmd_fault::{Quirk, Times};
use hsmd_proto::v1::ServingState;
use hsmd_tests::{Daemon, Hsmd, TEST_TIMEOUT, until, within};

use crate::system::DOCUMENT;

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
    assert!(hsmd.token.info().user_pin_count_low, "with the flag down, a crash forbids no try");
}

#[tokio::test]
async fn what_is_remembered_is_the_pin_and_not_its_file() {
    let hsmd = Hsmd::initialised().await;
    let is_tried = async |pin: &str| {
        hsmd.write_pin(pin);
        hsmd.run(&["check"]).await.refused("refused the PIN");
        let tried = hsmd.token.info().user_pin_count_low;
        // A good login takes the flag down.
        hsmd.token.objects();
        tried
    };
    assert!(is_tried("13579-wrong").await);
    // A credential of systemd is a new file at each start: other times, another inode, the same PIN.
    assert!(!is_tried("13579-wrong").await);
    assert!(is_tried("also wrong").await);
    assert!(!is_tried("13579-wrong").await, "the first is remembered beside the second");
    let (path, marker) = std::fs::read_dir(hsmd.state_dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with("pin-"))
        .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
        .unwrap();
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!marker.contains("wrong"), "{marker}");
    hsmd.correct_pin();
    hsmd.run(&["check"]).await.good();
    assert!(is_tried("13579-wrong").await, "a good login forgets, as the token's own count does");
}

/// What can't be a PIN, or can't be entered by a daemon, costs no login.
#[tokio::test]
async fn no_login_is_spent_on_what_can_not_work() {
    let (hsmd, faults) = Hsmd::initialised().await.with_faults();
    faults.reset_counters();
    for (text, said) in [
        ("24680-right\n", "more than one line"),
        ("\u{feff}24680-right", "byte order mark"),
        (" 24680-right", "blanks around the PIN"),
        ("", "the file is empty"),
    ] {
        // One line end more is written.
        hsmd.write_pin(text);
        hsmd.run(&["check"]).await.refused(said);
    }
    hsmd.correct_pin();
    faults.quirk(Quirk::PinPad, true).unwrap();
    hsmd.run(&["check"]).await.refused("reads its PIN from a pad of its own");
    assert_eq!(faults.calls("C_Login").unwrap(), 0);
    faults.quirk(Quirk::PinPad, false).unwrap();
    hsmd.run(&["check"]).await.good();
}

#[tokio::test]
async fn a_pin_of_the_wrong_length_waits_and_another_is_tried_at_once() {
    let (hsmd, faults) = Hsmd::initialised().await.with_faults();
    let (login, code) = ("C_Login".parse().unwrap(), "CKR_PIN_LEN_RANGE".parse().unwrap());
    faults.fail(login, code, Times::next(1), false).unwrap();
    faults.reset_counters();
    hsmd.write_pin("1");
    for _ in 0..2 {
        hsmd.run(&["check"]).await.refused("shorter or longer than the token's PINs");
    }
    assert_eq!(faults.calls("C_Login").unwrap(), 1, "tried once, also across restarts");
    hsmd.correct_pin();
    hsmd.run(&["check"]).await.good();
}

/// A login costs nothing there, so one is tried again after half a minute without a person.
#[tokio::test]
async fn a_token_without_a_pin_heals_when_it_gets_one() {
    let (hsmd, faults) = Hsmd::initialised().await.with_faults();
    let code = "CKR_USER_PIN_NOT_INITIALIZED".parse().unwrap();
    faults.fail("C_Login".parse().unwrap(), code, Times::next(1), false).unwrap();
    faults.reset_counters();
    let mut daemon = hsmd.launch(&[]);
    daemon.problem("the token has no user PIN yet").await;
    assert_eq!(faults.calls("C_Login").unwrap(), 1);
    within(3 * TEST_TIMEOUT, "it serves", async || daemon.is_serving("").await).await;
    assert!(daemon.is_alive());
}

#[tokio::test]
async fn a_pin_that_others_can_read_is_not_used() {
    let hsmd = Hsmd::initialised().await;
    let admit = |mode| std::fs::set_permissions(hsmd.path("pin"), PermissionsExt::from_mode(mode));
    admit(0o644).unwrap();
    hsmd.run(&["check"]).await.refused("admits others");
    let mut daemon = hsmd.launch(&[]);
    daemon.problem("admits others").await;
    admit(0o400).unwrap();
    daemon.ready().await;
}
