//! `hsmd check --try` at set-up: what it finds on a token that behaves as some real ones do, what it advises, and
//! that it leaves nothing behind.

use hsmd_fault::{Control, Quirk, Refusal, Times};
use hsmd_tests::{Device, Hsmd, Output, until};

async fn with_faults() -> (Hsmd, Control) {
    // On a busy machine a look and a change take long.
    let hsmd = Hsmd::fresh().await.set("claim_wait", "1m");
    let (hsmd, faults) = hsmd.with_faults();
    hsmd.migrate().await;
    (hsmd, faults)
}

async fn tried(hsmd: &Hsmd) -> Output {
    hsmd.run(&["check", "--try"]).await
}

#[track_caller]
fn assert_nothing_left(hsmd: &Hsmd) {
    let left = hsmd.token.objects();
    assert!(left.is_empty(), "{left:?}");
}

/// Lets a function refuse templates with an attribute.
fn refuse(faults: &Control, function: &str, attribute: &str, code: &str, keeps_lock: bool) {
    let (condition, code) = (attribute.parse().unwrap(), code.parse().unwrap());
    let refusal = Refusal { condition, code, keeps_lock };
    faults.refuse(function.parse().unwrap(), refusal, Times::always()).unwrap();
}

#[tokio::test]
async fn quirks_that_hsmd_copes_with_are_noted() {
    for (quirk, said) in [
        (Quirk::HandleReuse, "hsmd initialises the module anew before it makes a key"),
        (Quirk::HiddenObjects, "do not use standby"),
        (Quirk::OverwrittenIds, "a pair is whole and signs after another was destroyed"),
    ] {
        let (hsmd, faults) = with_faults().await;
        faults.quirk(quirk, true).unwrap();
        let report = tried(&hsmd).await.good();
        assert!(report.contains(said), "{quirk:?}: {report}");
        assert_nothing_left(&hsmd);
    }
}

#[tokio::test]
async fn a_device_that_can_not_be_used_is_refused() {
    let (hsmd, faults) = with_faults().await;
    faults.quirk(Quirk::ShortIds, true).unwrap();
    tried(&hsmd).await.refused("the token changed the CKA_ID");
    assert_nothing_left(&hsmd);
    faults.quirk(Quirk::ShortIds, false).unwrap();

    faults.corrupt("C_Sign".parse().unwrap(), Times::always()).unwrap();
    tried(&hsmd).await.refused("does not sign for its public key");
    assert_nothing_left(&hsmd);
    faults.clear("C_Sign".parse().unwrap()).unwrap();

    refuse(&faults, "C_GenerateKeyPair", "CKA_SENSITIVE", "CKR_TEMPLATE_INCONSISTENT", false);
    tried(&hsmd).await.refused("CKR_TEMPLATE_INCONSISTENT");
    assert_nothing_left(&hsmd);
    faults.clear("C_GenerateKeyPair".parse().unwrap()).unwrap();
    tried(&hsmd).await.good();
}

#[tokio::test]
async fn what_is_to_be_set_for_a_token_without_data_objects_is_said() {
    let (hsmd, faults) = with_faults().await;
    let data = "C_CreateObject";
    refuse(&faults, data, "CKA_LABEL", "CKR_ATTRIBUTE_VALUE_INVALID", false);
    let report = tried(&hsmd).await.good();
    assert!(report.contains("set journal_copy = false"), "{report}");
    // As yubihsm_pkcs11 does it: the next call never returns.
    refuse(&faults, data, "CKA_LABEL", "CKR_ATTRIBUTE_VALUE_INVALID", true);
    let hsmd = hsmd.set("token.0.hang_limit", "5s");
    tried(&hsmd).await.refused("set journal_copy = false for this token and try again");
    let hsmd = hsmd.set("token.0.hang_limit", "60s").set("token.0.journal_copy", false);
    let report = tried(&hsmd).await.good();
    assert!(report.contains("nothing of the trial is left on the token"), "{report}");
    assert_nothing_left(&hsmd);
}

#[tokio::test]
async fn keys_that_stay_are_said_and_go_with_the_next_trial() {
    let (hsmd, faults) = with_faults().await;
    faults.quirk(Quirk::UndestroyableKeys, true).unwrap();
    tried(&hsmd).await.refused("old and tainted keys stay on this token");
    assert!(!hsmd.token.objects().is_empty());
    faults.quirk(Quirk::UndestroyableKeys, false).unwrap();
    tried(&hsmd).await.good();
    assert_nothing_left(&hsmd);
}

#[tokio::test]
async fn keys_that_could_leave_the_device_are_said() {
    let device = tokio::task::spawn_blocking(Device::nss).await.unwrap();
    let hsmd = Hsmd::fresh().await.directly_on(&device).set("token.0.accept_extractable", false);
    hsmd.migrate().await;
    tried(&hsmd).await.refused("set accept_extractable = true");
}

#[tokio::test]
async fn a_trial_that_was_killed_is_cleaned_up_by_the_next() {
    let (hsmd, faults) = with_faults().await;
    faults.reset_counters();
    faults.hang("C_Sign".parse().unwrap(), Times::next(1)).unwrap();
    let hangs = until("it hangs", async || faults.status().function("C_Sign").hung == 1);
    // Dropped, the process is killed.
    tokio::select! {
        output = tried(&hsmd) => panic!("it ended: {output:?}"),
        () = hangs => {}
    }
    faults.release().unwrap();
    assert!(!hsmd.token.objects().is_empty(), "its pairs");
    // The database may need a moment to notice that it is gone.
    until("the next trial", async || tried(&hsmd).await.status.success()).await;
    assert_nothing_left(&hsmd);
}

#[tokio::test]
async fn nothing_is_tried_beside_a_daemon_that_serves() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    let before = hsmd.token.objects();
    tried(&hsmd).await.refused("nothing was tried");
    assert_eq!(hsmd.token.objects(), before);
    daemon.stop().await;
    // Nor is a key of ours in its way, or it in theirs.
    tried(&hsmd).await.good();
    assert_eq!(hsmd.token.private_keys(), [0, 1]);
}
