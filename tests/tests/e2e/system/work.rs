//! What a signature is made of, counted rather than timed: the calls of the token.

use std::collections::BTreeMap;

use hsmd_tests::Hsmd;

use crate::DOCUMENT;

#[tokio::test]
async fn a_signature_is_three_calls_of_the_token() {
    let (hsmd, faults) = Hsmd::initialised().await.with_faults();
    // A look at the token's owner every 20 s.
    let hsmd = hsmd.set("token.0.health_interval", "30s").set("lock_grace", "60s");
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
