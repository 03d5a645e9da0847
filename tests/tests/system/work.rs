//! What a signature is made of, counted rather than timed: the calls of the token, with the key itself
//! and with its copy in the session.

use std::collections::BTreeMap;

use hsmd_tests::{Hsmd, now};

use crate::{DOCUMENT, WINDOW};

#[tokio::test]
async fn a_signature_is_three_calls_of_the_token() {
    let (hsmd, faults) = Hsmd::initialised().await.with_faults();
    let hsmd = hsmd.set("token.0.health_interval", "60s");
    let daemon = hsmd.serve().await;
    faults.reset_counters();
    for _ in 0..20 {
        daemon.sign(DOCUMENT).await.unwrap();
    }
    daemon.sign_batch(&vec![DOCUMENT.to_owned(); 20]).await.unwrap();
    let functions = faults.status().functions;
    let calls = functions.iter().filter(|(_, function)| function.calls > 0);
    let calls: BTreeMap<_, _> = calls.map(|(name, f)| (name.as_str(), f.calls)).collect();
    // C_Sign is called a second time for the length of the signature.
    assert_eq!(calls, BTreeMap::from([("C_SignInit", 40), ("C_Sign", 80)]));
}

#[tokio::test]
async fn a_copy_signs_for_its_key_and_goes_with_it() {
    let (hsmd, faults) = Hsmd::fresh().await.set("token.0.session_copy", true).with_faults();
    hsmd.migrate().await;
    hsmd.init().await;
    assert!(hsmd.run(&["check"]).await.good().contains("is made of the active key"));
    let daemon = hsmd.serve().await;
    // From here on there is a copy of the journal on the token, to be replaced.
    daemon.rotate_head().await;
    for taint in [false, true] {
        faults.reset_counters();
        let head = if taint { daemon.taint_head().await } else { daemon.rotate_head().await };
        assert_eq!(faults.calls("C_CopyObject").unwrap(), 1);
        // The old pair, the journal's copy on the token as often as it was replaced, and the copy.
        let replaced = faults.calls("C_CreateObject").unwrap();
        assert_eq!(faults.calls("C_DestroyObject").unwrap(), 2 + replaced + 1);
        let signed = daemon.sign(DOCUMENT).await.unwrap();
        let verified = signed.verify(&daemon.log().await, now(), WINDOW).unwrap();
        assert_eq!(verified.sequence_number(), head.event().sequence_number());
    }
    // A lost session takes its copy with it; the next one has its own.
    faults.reset_counters();
    let lost = "CKR_SESSION_HANDLE_INVALID".parse().unwrap();
    faults.fail("C_SignInit".parse().unwrap(), lost, hsmd_fault::Times::next(1), false).unwrap();
    daemon.sign(DOCUMENT).await.unwrap();
    assert_eq!(faults.calls("C_CopyObject").unwrap(), 1);
}

#[tokio::test]
async fn keys_of_before_sign_themselves_until_they_are_rotated() {
    let hsmd = Hsmd::initialised().await.set("token.0.session_copy", true);
    for copied in [false, false, true] {
        let found = hsmd.run(&["check"]).await.good();
        assert_eq!(found.contains("is made of the active key"), copied, "{found}");
        let daemon = hsmd.serve().await;
        let signed = daemon.sign(DOCUMENT).await.unwrap();
        signed.verify(&daemon.log().await, now(), WINDOW).unwrap();
        daemon.rotate_head().await;
        daemon.stop().await;
    }
}
