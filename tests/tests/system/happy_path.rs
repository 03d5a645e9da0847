//! The main job: make an identity, endorse, sign, rotate, taint, verify from outside.

use std::time::Duration;

use hsmd_chain::testing::SoftwareKey;
use hsmd_tests::{Hsmd, now};

const WINDOW: Duration = Duration::from_secs(12 * 3600);

#[tokio::test]
async fn a_stranger_verifies_what_was_signed() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    let key = *SoftwareKey::from_seed("a service").public_key();

    let endorsed = daemon.endorse("access", key.as_str(), WINDOW).await.unwrap();
    let document = daemon.sign(r#"{"purpose":"document","text":"ü"}"#).await.unwrap();
    let log = daemon.log().await;
    let endorsement = endorsed.verify_endorsement(&log, "access", &key, now(), WINDOW).unwrap();
    assert!(endorsement.expiration() > now());
    let verified = document.verify(&log, now(), WINDOW).unwrap();
    assert_eq!(verified.payload(), r#"{"purpose":"document","text":"ü"}"#);
    assert_eq!(verified.sequence_number(), 0);
    hsmd.history().await;
}
