//! The token errs, is slow, hangs, goes away; played by the PKCS#11 fault module before a real one.

use std::time::Duration;

use hsmd_fault::{Control, Times};
use hsmd_tests::{Daemon, Hsmd, until};

use crate::faults::seen::{SOON, TOKEN_HEALS, is_ready};
use crate::faults::{Seen, faults};

faults! {
    "Token":
    device_error: "a signature fails: CKR_DEVICE_ERROR", "nothing";
    session_closed: "the session is lost: CKR_SESSION_HANDLE_INVALID", "nothing";
    operation_active: "a begun operation stays: CKR_OPERATION_ACTIVE", "nothing";
    logged_out: "an idle session has expired: CKR_USER_NOT_LOGGED_IN", "nothing";
    pulled: "the token is pulled out and put back", "puts it back";
    away_at_start: "the token is away when the daemon starts", "puts it back";
    slow: "a signature takes 70 ms", "nothing";
    hangs_for_a_while: "a call into the module hangs for a while", "nothing";
    hangs: "a call into the module hangs", "nothing: the watchdog ends the process, the supervisor starts it";
    generation_fails: "a key can't be made: CKR_DEVICE_MEMORY", "makes room on the token";
    generation_unanswered: "a key is made, the answer is lost", "nothing";
    corrupted: "signatures are corrupted", "looks at the token";
    corrupted_event: "an event's signature is corrupted", "asks again; looks at the token";
    wrong_pin: "the PIN file holds a wrong PIN", "corrects the file";
    pin_expired: "the token says that the PIN has expired", "sets a new one on the token and in the file; with the same PIN: waits 10 min or removes the marker";
    pin_locked: "the token says that the PIN is locked", "unlocks it; waits 10 min or removes the marker";
    active_key_lost: "the key that signs is destroyed by another process", "restores the token's backup";
    next_key_lost: "the next key is destroyed on the token", "restores the token's backup";
}

async fn with_faults() -> (Hsmd, Control) {
    Hsmd::initialised().await.with_faults()
}

/// A fault that hits the next call only: the daemon repeats what is safe to repeat.
async fn unnoticed(function: &str, code: &str) -> Seen {
    let ((hsmd, control), mut seen) = (with_faults().await, Seen::default());
    let daemon = hsmd.serve().await;
    let (function, code) = (function.parse().unwrap(), code.parse().unwrap());
    control.fail(function, code, Times::next(1), false).unwrap();
    seen.signs(&daemon).await;
    seen.signs(&daemon).await;
    daemon.rotate_head().await;
    seen.signs(&daemon).await;
    seen.never_ill();
    seen.nothing_lost(&hsmd, 2).await
}

async fn device_error() -> Seen {
    unnoticed("C_Sign", "CKR_DEVICE_ERROR").await
}

async fn session_closed() -> Seen {
    unnoticed("C_SignInit", "CKR_SESSION_HANDLE_INVALID").await
}

async fn operation_active() -> Seen {
    unnoticed("C_SignInit", "CKR_OPERATION_ACTIVE").await
}

async fn logged_out() -> Seen {
    unnoticed("C_SignInit", "CKR_USER_NOT_LOGGED_IN").await
}

async fn pulled() -> Seen {
    let ((hsmd, control), mut seen) = (with_faults().await, Seen::default());
    let daemon = hsmd.serve().await;
    seen.signs(&daemon).await;
    control.drop_token().unwrap();
    says_that_it_is_ill(&daemon).await;
    seen.refuses_to_sign(&daemon, "TOKEN_UNAVAILABLE").await;
    let zero = daemon.head().await.event().id();
    seen.refuses_to_rotate(&daemon, zero.as_str(), "TOKEN_UNAVAILABLE").await;
    control.restore_token().unwrap();
    seen.signs_within(TOKEN_HEALS, &daemon).await;
    daemon.rotate_head().await;
    seen.nothing_lost(&hsmd, 2).await
}

async fn away_at_start() -> Seen {
    let ((hsmd, control), mut seen) = (with_faults().await, Seen::default());
    control.drop_token().unwrap();
    let daemon = hsmd.launch(&[]);
    daemon.problem("waiting for the token").await;
    seen.refuses_to_sign(&daemon, "STARTING").await;
    seen.said("Status", "waiting for the token");
    control.restore_token().unwrap();
    seen.signs_within(TOKEN_HEALS, &daemon).await;
    daemon.rotate_head().await;
    seen.nothing_lost(&hsmd, 2).await
}

async fn slow() -> Seen {
    let ((hsmd, control), mut seen) = (with_faults().await, Seen::default());
    let daemon = hsmd.serve().await;
    control.delay("C_Sign".parse().unwrap(), Duration::from_millis(70), Duration::ZERO).unwrap();
    for _ in 0..5 {
        seen.signs(&daemon).await;
        is_ready(&daemon).await;
    }
    daemon.rotate_head().await;
    seen.signs(&daemon).await;
    seen.never_ill();
    seen.nothing_lost(&hsmd, 2).await
}

/// Health says so.
async fn says_that_it_is_ill(daemon: &Daemon) {
    until("it says that it does not serve", async || !daemon.is_serving("").await).await;
}

async fn hangs_for_a_while() -> Seen {
    let ((hsmd, control), mut seen) = (with_faults().await, Seen::default());
    let daemon = hsmd.serve().await;
    control.hang("C_Sign".parse().unwrap(), Times::next(1)).unwrap();
    says_that_it_is_ill(&daemon).await;
    seen.said("health", "NOT_SERVING");
    let words = "running for more than 800 ms";
    daemon.problem(words).await;
    seen.said("Status", words);
    control.release().unwrap();
    seen.signs_within(SOON, &daemon).await;
    daemon.rotate_head().await;
    seen.nothing_lost(&hsmd, 2).await
}

async fn hangs() -> Seen {
    let ((hsmd, control), mut seen) = (with_faults().await, Seen::default());
    let hsmd = hsmd.set("token.0.hang_limit", "5s");
    let daemon = hsmd.serve().await;
    control.hang("C_Sign".parse().unwrap(), Times::always()).unwrap();
    says_that_it_is_ill(&daemon).await;
    let (status, log) = daemon.ended().await;
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("a call to the token hangs: ending the process"), "{log}");
    seen.said("health", "NOT_SERVING");
    seen.said("the last line", "a call to the token hangs: ending the process");
    control.clear(hsmd_fault::Scope::All).unwrap();
    let daemon = hsmd.launch(&[]);
    seen.signs_within(SOON, &daemon).await;
    daemon.rotate_head().await;
    seen.nothing_lost(&hsmd, 2).await
}

async fn generation_fails() -> Seen {
    let ((hsmd, control), mut seen) = (with_faults().await, Seen::default());
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await.event().id();
    let function = || "C_GenerateKeyPair".parse().unwrap();
    let code = "CKR_DEVICE_MEMORY".parse().unwrap();
    control.fail(function(), code, Times::always(), false).unwrap();
    seen.refuses_to_rotate(&daemon, zero.as_str(), "TOKEN_UNAVAILABLE").await;
    control.clear(function()).unwrap();
    seen.signs_within(TOKEN_HEALS, &daemon).await;
    seen.rotates_within(TOKEN_HEALS, &daemon, zero.as_str()).await;
    assert_eq!(hsmd.token.private_keys(), [1, 2]);
    seen.nothing_lost(&hsmd, 2).await
}

async fn generation_unanswered() -> Seen {
    let ((hsmd, control), mut seen) = (with_faults().await, Seen::default());
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await.event().id();
    let function = "C_GenerateKeyPair".parse().unwrap();
    let code = "CKR_SESSION_HANDLE_INVALID".parse().unwrap();
    control.fail(function, code, Times::next(1), true).unwrap();
    let (_, performed) = daemon.rotate(zero.as_str()).await.expect("a rotation");
    assert!(performed);
    seen.said("Rotate", "OK");
    seen.never_ill();
    seen.signs(&daemon).await;
    assert_eq!(hsmd.token.private_keys(), [1, 2], "the pair was adopted");
    seen.nothing_lost(&hsmd, 2).await
}

async fn corrupted() -> Seen {
    let ((hsmd, control), mut seen) = (with_faults().await, Seen::default());
    let daemon = hsmd.serve().await;
    let function = || "C_Sign".parse().unwrap();
    control.corrupt(function(), Times::always()).unwrap();
    // Nobody calls: the daemon finds out by signatures of its own.
    says_that_it_is_ill(&daemon).await;
    seen.said("health", "NOT_SERVING");
    seen.refuses_to_sign(&daemon, "TOKEN_UNAVAILABLE").await;
    control.clear(function()).unwrap();
    seen.signs_within(TOKEN_HEALS, &daemon).await;
    daemon.rotate_head().await;
    seen.nothing_lost(&hsmd, 2).await
}

async fn corrupted_event() -> Seen {
    let ((hsmd, control), mut seen) = (with_faults().await, Seen::default());
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await.event().id();
    control.corrupt("C_Sign".parse().unwrap(), Times::always()).unwrap();
    seen.refuses_to_rotate(&daemon, zero.as_str(), "TOKEN_UNAVAILABLE").await;
    assert_eq!(hsmd.database.events().await.len(), 1, "nothing was written");
    control.clear("C_Sign".parse().unwrap()).unwrap();
    seen.rotates_within(TOKEN_HEALS, &daemon, zero.as_str()).await;
    seen.signs(&daemon).await;
    seen.nothing_lost(&hsmd, 2).await
}

async fn wrong_pin() -> Seen {
    let (hsmd, mut seen) = (Hsmd::initialised().await, Seen::default());
    hsmd.write_pin("13579-wrong");
    let daemon = hsmd.launch(&[]);
    daemon.problem("PIN").await;
    seen.refuses_to_sign(&daemon, "STARTING").await;
    daemon.problem("refused the PIN").await;
    seen.said("Status", "refused the PIN");
    assert!(hsmd.token.info().user_pin_count_low, "it was tried, and once");
    hsmd.correct_pin();
    seen.signs_within(SOON, &daemon).await;
    seen.nothing_lost(&hsmd, 1).await
}

/// The token refuses every login with this code, until a person has set it right: with the same PIN.
async fn login_refused(code: &str) -> Seen {
    let ((hsmd, control), mut seen) = (with_faults().await, Seen::default());
    let login = || "C_Login".parse().unwrap();
    control.fail(login(), code.parse().unwrap(), Times::always(), false).unwrap();
    control.reset_counters();
    let daemon = hsmd.launch(&[]);
    daemon.problem("takes no PIN").await;
    seen.refuses_to_sign(&daemon, "STARTING").await;
    seen.said("Status", "takes no PIN");
    daemon.kill().await;
    hsmd.run(&["check"]).await.refused("takes no PIN");
    let daemon = hsmd.launch(&[]);
    let status = daemon.problem("takes no PIN").await;
    assert_eq!(control.calls("C_Login").unwrap(), 1, "tried once, also across restarts");
    control.clear(login()).unwrap();
    let problem = &status.tokens[0].problem;
    let (_, marker) = problem.rsplit_once("remove ").expect("what to do, should the PIN be right");
    std::fs::remove_file(marker.trim_end_matches(')')).unwrap();
    seen.signs_within(SOON, &daemon).await;
    seen.nothing_lost(&hsmd, 1).await
}

async fn pin_expired() -> Seen {
    login_refused("CKR_PIN_EXPIRED").await
}

async fn pin_locked() -> Seen {
    login_refused("CKR_PIN_LOCKED").await
}

async fn active_key_lost() -> Seen {
    let (hsmd, mut seen) = (Hsmd::initialised().await, Seen::default());
    let daemon = hsmd.serve().await;
    seen.signs(&daemon).await;
    let backup = hsmd.token.backup();
    hsmd.token.destroy(0);
    says_that_it_is_ill(&daemon).await;
    seen.refuses_to_sign(&daemon, "TOKEN_UNAVAILABLE").await;
    let words = "no private key on the token signs for";
    daemon.problem(words).await;
    seen.said("Status", words);
    daemon.stop().await;
    hsmd.token.restore(&backup);
    seen.goes_on_by_a_person(&hsmd, 2).await
}

async fn next_key_lost() -> Seen {
    let (hsmd, mut seen) = (Hsmd::initialised().await, Seen::default());
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    daemon.stop().await;
    let backup = hsmd.token.backup();
    hsmd.token.destroy(2);
    let words = "the committed next key is missing on the token";
    hsmd.run(&["check"]).await.refused("the next key is lost");
    let daemon = hsmd.serve().await;
    let head = daemon.head().await.event().id();
    seen.signs(&daemon).await;
    seen.refuses_to_rotate(&daemon, head.as_str(), "NEXT_KEY_MISSING").await;
    daemon.problem(words).await;
    seen.said("Status, check", words);
    daemon.stop().await;
    hsmd.token.restore(&backup);
    seen.goes_on_by_a_person(&hsmd, 3).await
}
