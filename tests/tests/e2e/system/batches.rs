//! Batches: one signature for all that waits, of callers who accept leaves.

use std::collections::BTreeSet;

use hsmd_chain::SignedPayload;
use hsmd_chain::testing::SoftwareKey;
use hsmd_fault::Times;
use hsmd_tests::{Hsmd, Rpc, for_each_case, now, until};
use tokio::task::JoinSet;

use super::concurrency::Signers;
use crate::{DOCUMENT, WINDOW};

const WAITING: u32 = 100;

fn is_leaf(signed: &SignedPayload) -> bool {
    matches!(signed, SignedPayload::Batched(_))
}

/// The batch of a leaf, by its signature.
fn batch(signed: &SignedPayload) -> &str {
    signed.body().signature().as_str()
}

#[tokio::test]
async fn a_batch_of_documents_is_one_signature_and_keeps_their_order() {
    let (hsmd, faults) = Hsmd::initialised().await.with_faults();
    let hsmd = hsmd.set("token.0.health_interval", "30s");
    let daemon = hsmd.serve().await;
    let documents: Vec<_> =
        (0..64).map(|n| format!(r#"{{"purpose":"document","n":{n}}}"#)).collect();
    faults.reset_counters();
    let signed = daemon.sign_batch_accepting(&documents).await.unwrap();
    assert_eq!(faults.calls("C_SignInit").unwrap(), 1);

    let log = daemon.log().await;
    let payloads: Vec<_> = signed.iter().map(|signed| signed.payload().to_owned()).collect();
    assert_eq!(payloads, documents);
    for signed in &signed {
        assert!(is_leaf(signed));
        signed.verify(&log, now(), WINDOW).unwrap();
    }
    assert_eq!(signed.iter().map(batch).collect::<BTreeSet<_>>().len(), 1);
}

#[tokio::test]
async fn a_request_that_waits_alone_gets_a_body_of_its_own() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    let mut signed = daemon.sign_batch_accepting(&[DOCUMENT.to_owned()]).await.unwrap();
    signed.push(daemon.sign_accepting(DOCUMENT).await.unwrap());
    signed.push(endorse(&daemon, 0).await);
    let log = daemon.log().await;
    for signed in &signed {
        assert!(!is_leaf(signed));
        signed.verify(&log, now(), WINDOW).unwrap();
    }
    assert_eq!(signed.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_waits_is_one_signature_and_others_get_bodies() {
    let (hsmd, faults) = Hsmd::initialised().await.with_faults();
    let hsmd = hsmd.set("token.0.health_interval", "30s");
    let daemon = hsmd.serve().await;
    // The token is busy with this one while the others come.
    faults.reset_counters();
    faults.hang("C_Sign".parse().unwrap(), Times::next(1)).unwrap();
    let rpc = hsmd.rpc();
    let first = tokio::spawn(async move { rpc.sign(DOCUMENT).await });
    let begun = || faults.calls("C_SignInit").unwrap() == 1;
    until("the token is busy", async || begun().then_some(())).await;
    let mut endorsing = JoinSet::new();
    for number in 0..WAITING {
        let rpc = hsmd.rpc();
        endorsing.spawn(async move { endorse(&rpc, number).await });
    }
    let rpc = hsmd.rpc();
    let plain = tokio::spawn(async move { rpc.sign(DOCUMENT).await });
    until("they wait", async || {
        (daemon.status().await.ok()?.queue_depth == WAITING + 1).then_some(())
    })
    .await;
    faults.release().unwrap();

    let log = daemon.log().await;
    for plain in [first, plain] {
        plain.await.unwrap().unwrap().verify(&log, now(), WINDOW).unwrap();
    }
    let endorsed = endorsing.join_all().await;
    assert!(endorsed.iter().all(is_leaf));
    assert_eq!(endorsed.iter().map(batch).collect::<BTreeSet<_>>().len(), 1);
    for signed in &endorsed {
        let verified = signed.verify(&log, now(), WINDOW).unwrap();
        assert_eq!(verified.sequence_number(), 0);
    }
    assert_eq!(faults.calls("C_SignInit").unwrap(), 3, "the first, the tree, the plain one");
}

#[tokio::test]
async fn a_daemon_without_batches_makes_none() {
    let hsmd = Hsmd::initialised().await.set("limits.batch", 0);
    let daemon = hsmd.serve().await;
    let signed = daemon.sign_batch_accepting(&[DOCUMENT.into(), DOCUMENT.into()]).await.unwrap();
    assert_eq!(signed.len(), 2);
    assert!(!signed.iter().any(is_leaf));
}

/// At each death callers who accept leaves are being served.
#[tokio::test(flavor = "multi_thread")]
async fn each_reply_before_a_death_names_its_key_and_no_tainted_one_signs_after_it() {
    let points = [
        "rotation::begun",
        "rotation::journaled",
        "rotation::committed",
        // A start passes it as well.
        "rotation::activated=1*off->return",
    ];
    for_each_case(points, |point| async move {
        let hsmd = Hsmd::initialised().await;
        let before = hsmd.history().await;
        let mut daemon = hsmd.launch_until(point);
        daemon.ready().await;
        let signers = Signers::start(&hsmd, &Default::default());
        until("signers are served", async || signers.served() > 0).await;
        let zero = daemon.head().await.event().id();
        // On a busy machine it may be answered before its row is committed.
        drop(daemon.taint(zero.as_str()).await);
        daemon.died().await;
        let replies = signers.replies().await;

        let daemon = hsmd.serve().await;
        daemon.taint(zero.as_str()).await.expect(point);
        let log = hsmd.history().await;
        let served: Vec<_> = replies.into_iter().filter_map(|(_, reply)| reply.ok()).collect();
        assert!(!served.is_empty(), "{point}");
        for signed in &served {
            let log = if signed.generation_id() == zero { &before } else { &log };
            signed.verify(log, now(), WINDOW).unwrap_or_else(|error| panic!("{point}: {error}"));
        }
        for signed in daemon.sign_batch_accepting(&vec![DOCUMENT.into(); 5]).await.unwrap() {
            assert_eq!(signed.verify(&log, now(), WINDOW).unwrap().sequence_number(), 1);
        }
    })
    .await;
}

async fn endorse(rpc: &Rpc, number: u32) -> SignedPayload {
    let key = SoftwareKey::from_seed(&number.to_string());
    rpc.endorse_accepting("access", key.public_key().as_str(), WINDOW).await.unwrap()
}
