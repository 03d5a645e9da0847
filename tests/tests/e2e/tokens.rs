//! Tokens of other makers: each runs one sequence, with the fault module before it, which counts.

use hsmd_chain::testing::SoftwareKey;
use hsmd_chain::{KeyLog, SignedBody};
use hsmd_proto::v1::ServingState;
use hsmd_tests::{Daemon, Device, Hsmd, now, until};

use crate::{DOCUMENT, WINDOW, told};

#[tokio::test]
async fn softhsm() {
    let (hsmd, faults) = Hsmd::fresh().await.with_faults();
    sequence(hsmd, faults, 3).await;
}

#[tokio::test]
async fn swtpm() {
    let device = tokio::task::spawn_blocking(Device::swtpm).await.unwrap();
    let (hsmd, faults) = Hsmd::fresh().await.on(&device);
    // Its identity was lost at the third rotation once.
    let rotations = if told("HSMD_LONG").is_some() { 100 } else { 4 };
    sequence(hsmd, faults, rotations).await;
}

#[tokio::test]
async fn nss() {
    let device = tokio::task::spawn_blocking(Device::nss).await.unwrap();
    let (hsmd, faults) = Hsmd::fresh().await.on(&device);
    sequence(hsmd, faults, 3).await;
}

#[tokio::test]
async fn p11_kit() {
    let device = tokio::task::spawn_blocking(Device::p11_kit).await.unwrap();
    let (hsmd, faults) = Hsmd::fresh().await.on(&device);
    sequence(hsmd, faults, 3).await;
}

/// Only where it was built (`scripts/test --long`).
#[cfg(feature = "kryoptic")]
#[tokio::test]
async fn kryoptic() {
    let module = told("HSMD_KRYOPTIC").expect("HSMD_KRYOPTIC names the module");
    let device = tokio::task::spawn_blocking(|| Device::kryoptic(module)).await.unwrap();
    let (hsmd, faults) = Hsmd::fresh().await.on(&device);
    sequence(hsmd, faults, 3).await;
}

async fn sequence(hsmd: Hsmd, faults: hsmd_fault::Control, rotations: usize) {
    // The trial measures how long a claim has to wait: long, since a loaded machine is no fault.
    let hsmd = hsmd.set("claim_wait", "20s");
    hsmd.migrate().await;
    let tried = hsmd.run(&["check", "--try"]).await.good();
    assert!(tried.contains("nothing of the trial is left on the token"), "{tried}");
    assert!(!tried.contains("BAD"), "{tried}");

    // A round trip a call, on a busy machine.
    let hsmd = hsmd.set("claim_wait", "500ms");
    hsmd.init().await;
    let daemon = hsmd.serve().await;
    let service_key = *SoftwareKey::from_seed("a service").public_key();
    let endorse = async |daemon: &Daemon| {
        daemon.endorse("access", service_key.as_str(), WINDOW).await.unwrap()
    };
    let mut endorsed = vec![endorse(&daemon).await];
    let mut signed = vec![daemon.sign(DOCUMENT).await.unwrap()];
    for _ in 0..rotations {
        daemon.rotate_head().await;
        signed.push(daemon.sign(DOCUMENT).await.unwrap());
    }
    daemon.kill().await;
    let mut daemon = hsmd.serve().await;
    signed.push(daemon.sign(DOCUMENT).await.unwrap());
    let tainted = daemon.head().await.event().id();
    daemon.taint_head().await;
    signed.retain(|signed| signed.generation_id() != tainted);
    endorsed.push(endorse(&daemon).await);
    signed.push(daemon.sign(DOCUMENT).await.unwrap());

    faults.drop_token().unwrap();
    until("it says that the token is away", async || (!daemon.is_serving("").await).then_some(()))
        .await;
    faults.restore_token().unwrap();
    daemon.ready().await;
    signed.push(daemon.sign(DOCUMENT).await.unwrap());
    daemon.rotate_head().await;
    daemon.stop().await;

    a_wrong_pin_is_one_login(&hsmd, &faults).await;
    hsmd.serve().await.sign(DOCUMENT).await.unwrap();
    let log = hsmd.history().await;
    assert_eq!(log.events().len(), rotations + 3);
    verify(&signed, &log);
    for endorsement in &endorsed {
        endorsement
            .verify_endorsement(&log, "access", &service_key, now(), WINDOW)
            .expect("an endorsement that verifies");
    }
}

async fn a_wrong_pin_is_one_login(hsmd: &Hsmd, faults: &hsmd_fault::Control) {
    hsmd.write_pin("13579-wrong");
    faults.reset_counters();
    let refused: Daemon = hsmd.launch(&[]);
    refused.problem("refused the PIN").await;
    refused.kill().await;
    hsmd.run(&["check"]).await.refused("refused the PIN");
    assert_eq!(faults.calls("C_Login").unwrap(), 1, "tried once, also across restarts");
    hsmd.correct_pin();
}

/// Offline: by the log alone.
fn verify(signed: &[SignedBody], log: &KeyLog) {
    for signed in signed {
        signed.verify(log, now(), WINDOW).expect("a signature that verifies");
    }
}

/// NSS without a password: a token that asks for no login.
#[tokio::test]
async fn a_token_without_a_login_is_used_without_one() {
    let device = tokio::task::spawn_blocking(Device::nss_without_a_password).await.unwrap();
    let token = toml::toml! {
        pin = ""
        key_label = "authorization-key"
    };
    let hsmd = Hsmd::fresh().await.set("token", vec![toml::Value::Table(token)]);
    let (hsmd, faults) = hsmd.on(&device);
    hsmd.migrate().await;
    hsmd.init().await;
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    daemon.sign(DOCUMENT).await.unwrap();
    daemon.kill().await;
    hsmd.serve().await.sign(DOCUMENT).await.unwrap();
    assert_eq!(faults.calls("C_Login").unwrap(), 0);
    assert_eq!(hsmd.history().await.events().len(), 2);
}

#[tokio::test]
async fn without_a_copy_of_the_journal_no_data_object_is_made() {
    let (hsmd, faults) = Hsmd::fresh().await.with_faults();
    let hsmd = hsmd.set("token.0.journal_copy", false);
    hsmd.migrate().await;
    hsmd.init().await;
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    daemon.taint_head().await;
    let status = daemon.status().await.unwrap();
    assert_eq!(status.tokens[0].no_journal_copy, "journal_copy = false");
    assert_eq!(faults.calls("C_CreateObject").unwrap(), 0);
    assert_eq!(hsmd.history().await.events().len(), 3);
}

#[tokio::test]
async fn a_module_that_can_not_be_loaded_is_named_once() {
    let hsmd = Hsmd::fresh().await.set("token.0.module", "/no/such/module.so");
    let said = hsmd.run(&["check"]).await.stdout;
    assert_eq!(said.matches("/no/such/module.so").count(), 1, "{said}");
}

#[tokio::test]
async fn a_rotation_that_can_not_be_made_is_a_problem_at_once() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    hsmd.token.destroy(1);
    let head = daemon.head().await.event().id();
    let refusal = daemon.rotate(head.as_str()).await.unwrap_err();
    assert_eq!(refusal.reason, "NEXT_KEY_MISSING", "{refusal:?}");
    let status = daemon.status().await.unwrap();
    assert_eq!(status.state(), ServingState::Degraded, "{status:?}");
    let words = "the committed next key is missing on the token";
    assert!(status.problems.iter().any(|problem| problem.contains(words)), "{status:?}");
    daemon.sign(DOCUMENT).await.expect("it still signs");
}

#[tokio::test]
async fn a_pair_that_does_not_sign_is_not_committed() {
    // The daemon's own signatures must not meet the fault first.
    let hsmd = Hsmd::initialised().await.set("token.0.health_interval", "30s");
    let (hsmd, faults) = hsmd.with_faults();
    let daemon = hsmd.serve().await;
    let head = daemon.head().await.event().id();
    faults.corrupt("C_Sign".parse().unwrap(), hsmd_fault::Times::next(1)).unwrap();
    let refusal = daemon.rotate(head.as_str()).await.unwrap_err();
    assert!(refusal.message.contains("does not sign for its public key"), "{refusal:?}");
    assert_eq!(hsmd.token.private_keys(), [0, 1], "the pair is gone");
    daemon.rotate_head().await;
    assert_eq!(hsmd.history().await.events().len(), 2);
}
