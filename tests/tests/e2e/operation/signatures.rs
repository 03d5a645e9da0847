//! Records of signatures: what a key has signed is found in the audit file, by its generation.

use std::time::Duration;

use hsmd_proto::v1;
use hsmd_tests::{Hsmd, program, until};
use serde_json::Value;
use tokio::process::Command;

use crate::operation::audit::{called, records, text, with_records};
use crate::operation::{DOCUMENT, HOUR, service_key, with_callers};

const OTHER: &str = r#"{"purpose":"other"}"#;

fn recording(hsmd: Hsmd) -> Hsmd {
    with_records(with_callers(hsmd, "")).set("audit.signatures", true)
}

fn digest(text: impl AsRef<[u8]>) -> String {
    hsmd_chain::Digest::of(text.as_ref()).to_string()
}

/// The signatures of a generation that `hsmctl audit` lists, once there are so many.
async fn listed(hsmd: &Hsmd, generation: &str, count: usize) -> Vec<Value> {
    until(&format!("{count} signatures"), async || {
        let listed = Command::new(program("hsmctl"))
            .args(["--output", "json", "audit", "--signatures"])
            .arg(hsmd.path("audit.jsonl"))
            .args(["--generation", generation])
            .output()
            .await
            .unwrap();
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
        let listed = listed.as_array().unwrap().clone();
        (listed.len() == count).then_some(listed)
    })
    .await
}

#[tokio::test]
async fn each_signature_of_a_tainted_key_is_found_in_the_audit_file() {
    let hsmd = recording(Hsmd::initialised().await);
    let daemon = hsmd.serve().await;
    let generation = daemon.head().await.event().id();
    let signed = daemon.sign(DOCUMENT).await.unwrap();
    let batch = daemon.sign_batch(&vec![DOCUMENT.to_owned(); 2]).await.unwrap();
    let endorsed = daemon.endorse("access", &service_key(), HOUR).await.unwrap();
    daemon.taint_head().await;
    daemon.sign(DOCUMENT).await.unwrap();
    let mut expected: Vec<_> = batch.iter().map(|signed| digest(signed.text())).collect();
    expected.extend([digest(signed.text()), digest(endorsed.text())]);
    expected.sort();
    let found = listed(&hsmd, generation.as_str(), 4).await;
    let mut bodies: Vec<_> = found.iter().map(|record| text(record, "body")).collect();
    bodies.sort();
    assert_eq!(bodies, expected);
    assert!(found.iter().all(|record| text(record, "caller") == "tester"));
}

/// The purpose and the body of each, in the order of the bodies.
fn what_was_signed(listed: &[Value]) -> Vec<[String; 2]> {
    let mut found: Vec<_> =
        listed.iter().map(|of| ["purpose", "body"].map(|member| text(of, member))).collect();
    found.sort();
    found
}

#[tokio::test]
async fn a_batch_of_two_purposes_has_a_record_for_each() {
    let hsmd = recording(Hsmd::initialised().await);
    let daemon = hsmd.serve().await;
    let generation = daemon.head().await.event().id();
    let payloads = [DOCUMENT, OTHER, DOCUMENT].map(|text| text.as_bytes().to_vec().into()).to_vec();
    let request = v1::SignBatchRequest { payloads, ..Default::default() };
    let reply = daemon.signer.clone().sign_batch(called(request, "mixed")).await.unwrap();
    let bodies: Vec<_> = reply.into_inner().signed.iter().map(|of| digest(&of.body)).collect();
    let found = listed(&hsmd, generation.as_str(), 3).await;
    let purposes = ["document", "other", "document"].map(str::to_owned);
    let mut expected: Vec<_> =
        purposes.into_iter().zip(bodies).map(|(purpose, body)| [purpose, body]).collect();
    expected.sort();
    assert_eq!(what_was_signed(&found), expected);
    let of_the_call: Vec<_> =
        records(&hsmd).into_iter().filter(|record| record["request_id"] == "mixed").collect();
    assert_eq!(of_the_call.len(), 2, "{of_the_call:?}");
}

#[tokio::test]
async fn what_a_batch_signs_after_a_rotation_is_recorded_under_the_new_key() {
    let (hsmd, faults) = Hsmd::initialised().await.with_faults();
    let hsmd = recording(hsmd).set("token.0.health_interval", "30s");
    let daemon = hsmd.serve().await;
    let before = daemon.head().await.event().id();
    // So slow that the rotation comes before the last one.
    faults.reset_counters();
    faults.delay("C_Sign".parse().unwrap(), Duration::from_millis(200), Duration::ZERO).unwrap();
    let rpc = hsmd.rpc();
    let signing = tokio::spawn(async move { rpc.sign_batch(&vec![DOCUMENT.to_owned(); 30]).await });
    let begun = || faults.calls("C_SignInit").unwrap() > 0;
    until("the first is being signed", async || begun().then_some(())).await;
    let after = daemon.rotate_head().await.event().id();
    let batch = signing.await.unwrap().unwrap();
    for generation in [before, after] {
        let own = batch.iter().filter(|signed| signed.generation_id() == generation);
        let mut expected: Vec<_> =
            own.map(|signed| ["document".to_owned(), digest(signed.text())]).collect();
        expected.sort();
        assert!((1..30).contains(&expected.len()), "a rotation between: {expected:?}");
        let found = listed(&hsmd, generation.as_str(), expected.len()).await;
        assert_eq!(what_was_signed(&found), expected);
    }
}
