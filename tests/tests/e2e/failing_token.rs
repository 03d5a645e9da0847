//! The daemon before a token that fails, by the fault module: what callers see, and that it heals
//! without a restart.

use std::time::{Duration, Instant};

use hsmd_fault::{Code, Control, Scope, Times};
use hsmd_tests::{Daemon, Hsmd, Refusal, for_each_case, until};
use tokio::net::UnixDatagram;

use crate::DOCUMENT;

async fn with_faults() -> (Hsmd, Control) {
    Hsmd::initialised().await.with_faults()
}

fn function(name: &str) -> Scope {
    name.parse().expect("a name of PKCS#11")
}

fn code(name: &str) -> Code {
    name.parse().expect("a name of PKCS#11")
}

/// Signs until it succeeds; whatever is refused meanwhile is for the token's sake, and may be retried.
async fn heals(daemon: &Daemon) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    until("it signs again", async || match daemon.sign(DOCUMENT).await {
        Ok(_) => Some(()),
        Err(refusal) => {
            assert_eq!(refusal.code, tonic::Code::Unavailable, "{refusal:?}");
            assert_eq!(refusal.reason, "TOKEN_UNAVAILABLE", "{refusal:?}");
            refusals.push(refusal);
            None
        }
    })
    .await;
    refusals
}

async fn not_serving(daemon: &Daemon) {
    until("health says so", async || !daemon.is_serving("").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_device_errors_heal_by_themselves() {
    for_each_case(["C_Sign", "C_SignInit"], |name| async move {
        let (hsmd, faults) = with_faults().await;
        let mut daemon = hsmd.serve().await;
        let device_error = code("CKR_DEVICE_ERROR");
        faults.fail(function(name), device_error, Times::next(3), false).unwrap();
        heals(&daemon).await;
        until("all three were met", async || {
            (faults.status().function(name).failed == 3).then_some(())
        })
        .await;
        daemon.ready().await;
        daemon.sign(DOCUMENT).await.unwrap();
        assert!(daemon.is_alive());
        daemon.rotate_head().await;
        assert_eq!(hsmd.history().await.events().len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_lost_session_is_not_even_noticed() {
    let cases = [
        "CKR_SESSION_HANDLE_INVALID",
        "CKR_SESSION_CLOSED",
        "CKR_USER_NOT_LOGGED_IN",
        "CKR_KEY_HANDLE_INVALID",
        "CKR_OPERATION_ACTIVE",
        "CKR_DEVICE_ERROR",
        "CKR_DEVICE_REMOVED",
        "CKR_TOKEN_NOT_PRESENT",
        "CKR_GENERAL_ERROR",
        "CKR_HOST_MEMORY",
        "CKR_CRYPTOKI_NOT_INITIALIZED",
        "0x80000001",
    ];
    for_each_case(cases, |name| async move {
        // The daemon's own signatures must not meet the fault first.
        let (hsmd, faults) = with_faults().await;
        let hsmd = hsmd.set("token.0.health_interval", "30s");
        let daemon = hsmd.serve().await;
        for function_name in ["C_SignInit", "C_Sign"] {
            let times = Times::next(1);
            faults.fail(function(function_name), code(name), times, false).unwrap();
            daemon.sign(DOCUMENT).await.unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
            let failed = faults.status().function(function_name).failed;
            // The second may find the module reinitialised a moment ago; the session is enough then.
            assert_eq!(failed, 1, "{name} in {function_name}");
        }
        daemon.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_the_token_can_not_do_is_said_and_ends_with_its_cause() {
    let (hsmd, faults) = with_faults().await;
    let mut daemon = hsmd.serve().await;
    let no_mechanism = code("CKR_MECHANISM_INVALID");
    faults.fail(function("C_SignInit"), no_mechanism, Times::always(), false).unwrap();
    assert_eq!(daemon.sign(DOCUMENT).await.unwrap_err().reason, "TOKEN_UNAVAILABLE");
    daemon.problem("CKR_MECHANISM_INVALID").await;
    not_serving(&daemon).await;
    faults.clear(Scope::All).unwrap();
    daemon.ready().await;
}

#[tokio::test]
async fn a_slow_token_is_served_slowly() {
    let (hsmd, faults) = with_faults().await;
    let daemon = hsmd.serve().await;
    let delay = Duration::from_millis(70);
    faults.delay(function("C_Sign"), delay, Duration::ZERO).unwrap();
    for _ in 0..10 {
        let begun = Instant::now();
        daemon.sign(DOCUMENT).await.unwrap();
        assert!(begun.elapsed() >= delay);
        assert!(daemon.is_serving("").await);
    }
    faults.clear(Scope::All).unwrap();
    daemon.rotate_head().await;
}

#[tokio::test]
async fn a_hanging_call_turns_health() {
    let (hsmd, faults) = with_faults().await;
    let mut daemon = hsmd.serve().await;
    faults.hang(function("C_Sign"), Times::next(1)).unwrap();
    until("a call hangs", async || (faults.status().function("C_Sign").hung == 1).then_some(()))
        .await;
    not_serving(&daemon).await;
    assert!(daemon.is_serving("hsmd.v1.KeyLog").await, "what needs no token is served");
    daemon.problem("running for more than 800 ms").await;
    faults.release().unwrap();
    daemon.ready().await;
    daemon.sign(DOCUMENT).await.unwrap();
    assert!(daemon.is_alive());
}

#[tokio::test]
async fn a_call_that_never_returns_ends_the_process() {
    let (hsmd, faults) = with_faults().await;
    let socket = hsmd.path("notify");
    let supervisor = UnixDatagram::bind(&socket).unwrap();
    let hsmd = hsmd
        .set("token.0.hang_limit", "5s")
        .env("NOTIFY_SOCKET", socket)
        .env("WATCHDOG_USEC", "400000");
    let daemon = hsmd.serve().await;
    let mut message = [0; 256];
    until("the supervisor hears of a live daemon", async || {
        let length = supervisor.recv(&mut message).await.unwrap();
        message[..length].starts_with(b"WATCHDOG=1").then_some(())
    })
    .await;
    // From here on nobody listens to the supervisor's socket: that holds up no end.
    faults.hang(function("C_Sign"), Times::always()).unwrap();
    let begun = Instant::now();
    let (status, log) = daemon.ended().await;
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("a call to the token hangs"), "{log}");
    assert!(begun.elapsed() >= Duration::from_secs(5));
    // The supervisor starts it again, and it serves as soon as the token does.
    drop(supervisor);
    faults.release().unwrap();
    hsmd.serve().await.sign(DOCUMENT).await.unwrap();
}

#[tokio::test]
async fn a_token_that_was_pulled_out_is_taken_up_again() {
    let (hsmd, faults) = with_faults().await;
    let mut daemon = hsmd.serve().await;
    let signed_before = daemon.sign(DOCUMENT).await.unwrap();
    faults.reset_counters();
    let begun = Instant::now();
    faults.drop_token().unwrap();
    not_serving(&daemon).await;
    let refusal = daemon.sign(DOCUMENT).await.unwrap_err();
    assert_eq!(refusal.reason, "TOKEN_UNAVAILABLE");
    assert!(daemon.is_serving("hsmd.v1.KeyLog").await);

    faults.restore_token().unwrap();
    daemon.ready().await;
    let signed = daemon.sign(DOCUMENT).await.unwrap();
    assert_eq!(signed.generation_id(), signed_before.generation_id());
    let (finalised, logins) =
        (faults.calls("C_Finalize").unwrap(), faults.calls("C_Login").unwrap());
    assert!(finalised <= allowed_since(begun), "C_Finalize {finalised} times");
    assert_eq!(logins, 1);
    daemon.rotate_head().await;
    assert!(daemon.is_alive());
}

#[tokio::test]
async fn the_module_is_not_reinitialised_again_and_again() {
    let (hsmd, faults) = with_faults().await;
    let mut daemon = hsmd.serve().await;
    faults.reset_counters();
    let begun = Instant::now();
    let broken = code("CKR_DEVICE_ERROR");
    faults.fail(function("C_OpenSession"), broken, Times::always(), false).unwrap();
    faults.fail(function("C_Sign"), broken, Times::next(1), false).unwrap();
    // It is tried to open a session every 2 s at the most, so the delays grow from 1 s.
    until("it was done three times", async || faults.calls("C_Finalize").unwrap() >= 3).await;
    let tried = faults.status().function("C_OpenSession").failed;
    assert!(tried <= 10, "{tried} sessions were tried to open meanwhile");
    let finalised = faults.calls("C_Finalize").unwrap();
    assert!((1..=allowed_since(begun)).contains(&finalised), "C_Finalize {finalised} times");
    faults.clear(Scope::All).unwrap();
    daemon.ready().await;
    let finalised = faults.calls("C_Finalize").unwrap();
    assert!(finalised <= allowed_since(begun), "C_Finalize {finalised} times");
    // From here on a new session is enough.
    faults.fail(function("C_Sign"), code("CKR_SESSION_CLOSED"), Times::next(1), false).unwrap();
    until("it was met", async || faults.status().function("C_Sign").failed == 2).await;
    daemon.sign(DOCUMENT).await.unwrap();
    assert_eq!(faults.calls("C_Finalize").unwrap(), finalised);
}

/// How often the module may have been finalised in this time: at once, and then after delays of 1, 2, 4 …
/// seconds. Up to the sixth the delays are less than the longest.
fn allowed_since(begun: Instant) -> u64 {
    let seconds = begun.elapsed().as_secs();
    assert!(seconds < 60, "a calm minute begins the delays anew");
    1 + u64::from((seconds + 1).ilog2())
}

#[tokio::test]
async fn wrong_signatures_are_found_out() {
    // Idle: by the daemon's own.
    let (hsmd, faults) = with_faults().await;
    let mut daemon = hsmd.serve().await;
    faults.corrupt(function("C_Sign"), Times::always()).unwrap();
    not_serving(&daemon).await;
    assert_eq!(daemon.sign(DOCUMENT).await.unwrap_err().reason, "TOKEN_UNAVAILABLE");
    faults.clear(Scope::All).unwrap();
    daemon.ready().await;

    // Under load, when no health signatures are made: by a caller's, now and then.
    let log = daemon.log().await;
    let window = Duration::from_secs(3600);
    faults.corrupt(function("C_Sign"), Times::always()).unwrap();
    until("a caller is refused", async || match daemon.sign(DOCUMENT).await {
        Ok(signed) => {
            let bad = signed.verify(&log, hsmd_tests::now(), window);
            assert!(bad.is_err(), "all are corrupted");
            None
        }
        Err(refusal) => {
            assert_eq!(refusal.reason, "TOKEN_UNAVAILABLE");
            Some(())
        }
    })
    .await;
    // The refusal comes before health turns: without this, `ready` would see the health of before.
    not_serving(&daemon).await;
    faults.clear(Scope::All).unwrap();
    daemon.ready().await;
    daemon.sign(DOCUMENT).await.unwrap().verify(&log, hsmd_tests::now(), window).unwrap();
}

#[tokio::test]
async fn a_refused_pin_is_one_login_and_a_failed_login_is_tried_again() {
    let (hsmd, faults) = with_faults().await;
    let login = function("C_Login");
    // Refused by the fault module: to the token itself nothing wrong was ever said.
    hsmd.write_pin("13579-wrong");
    faults.fail(login, code("CKR_PIN_INCORRECT"), Times::always(), false).unwrap();
    faults.reset_counters();
    for _ in 0..3 {
        let daemon = hsmd.launch(&[]);
        daemon.problem("PIN").await;
        daemon.stop().await;
    }
    assert_eq!(faults.calls("C_Login").unwrap(), 1);

    faults.fail(login, code("CKR_DEVICE_ERROR"), Times::next(2), false).unwrap();
    hsmd.correct_pin();
    let mut daemon = hsmd.launch(&[]);
    daemon.ready().await;
    // Two that failed, one that did not, and one more after the C_Initialize of the token's claim.
    assert_eq!(faults.calls("C_Login").unwrap(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_survives_a_fault_in_every_function_it_calls() {
    let functions = [
        "C_FindObjectsInit",
        "C_FindObjects",
        "C_FindObjectsFinal",
        "C_GetAttributeValue",
        "C_GenerateKeyPair",
        "C_CreateObject",
        "C_DestroyObject",
        "C_SignInit",
        "C_Sign",
    ];
    let cases = functions.into_iter().flat_map(|name| [(name, false), (name, true)]);
    for_each_case(cases, |(name, after)| async move {
        let (hsmd, faults) = with_faults().await;
        let hsmd = hsmd.set("token.0.health_interval", "30s");
        let daemon = hsmd.serve().await;
        let zero = daemon.head().await.event().id();
        let device_error = code("CKR_DEVICE_ERROR");
        faults.fail(function(name), device_error, Times::next(1), after).unwrap();
        let (event, _) =
            until("it has rotated", async || match daemon.rotate(zero.as_str()).await {
                Ok(rotated) => Some(rotated),
                Err(refusal) => {
                    assert_eq!(refusal.reason, "TOKEN_UNAVAILABLE", "{name}: {refusal:?}");
                    None
                }
            })
            .await;
        assert_eq!(event.event().sequence_number(), 1, "{name}");
        assert_eq!(faults.status().function(name).failed, 1, "{name} was not called");
        assert_eq!(daemon.sign(DOCUMENT).await.unwrap().generation_id(), event.event().id());
        daemon.stop().await;
        faults.clear(Scope::All).unwrap();
        assert_eq!(hsmd.token.private_keys(), [1, 2], "{name}, after: {after}");
        assert_eq!(hsmd.history().await.events().len(), 2);
    })
    .await;
}
