//! A caller's rate: how many signatures, not how many calls.

use std::time::Duration;

use hsmd_proto::v1;
use hsmd_tests::{Hsmd, Refusal, until};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::operation::{
    DOCUMENT, HOUR, Tls, assert_refused, head, reload, service_key, with_callers,
};

const LIMITED: &str = r#"
    [[caller]]
    name = "limited"
    san = "limited.example.org"
    endorse = ["access"]
    sign = ["document"]
    read_log = true
    rate = { per_second = 1, burst = 5 }
"#;

async fn sign(rpc: &hsmd_tests::Rpc) -> Result<(), Status> {
    let request = v1::SignRequest { payload: DOCUMENT.as_bytes().into(), ..Default::default() };
    rpc.signer.clone().sign(request).await.map(drop)
}

#[tokio::test]
async fn a_batch_counts_its_items_and_a_refusal_says_when() {
    let (hsmd, tls) = Tls::of(with_callers(Hsmd::initialised().await, LIMITED));
    let daemon = hsmd.serve().await;
    let limited = tls.dial(&["limited.example.org"]).remote(&hsmd).rpc;
    let batch = |count| vec![DOCUMENT.to_owned(); count];

    // Six never fit into a bucket of five, and so take nothing out of it.
    let request = v1::SignBatchRequest {
        payloads: batch(6).into_iter().map(|d| d.into_bytes().into()).collect(),
        ..Default::default()
    };
    let never = limited.signer.clone().sign_batch(request).await.unwrap_err();
    assert!(never.get_details_retry_info().is_none(), "no use in trying again: {never:?}");
    assert_refused::<()>(Err(never.into()), Code::ResourceExhausted, "BATCH_TOO_LARGE");
    limited.sign_batch(&batch(5)).await.unwrap();

    let status = until("the bucket is empty", async || sign(&limited).await.err()).await;
    let retry = status.get_details_retry_info().and_then(|info| info.retry_delay).unwrap();
    assert!(retry > Duration::ZERO && retry <= Duration::from_secs(1), "{retry:?}");
    assert_refused::<()>(Err(status.into()), Code::ResourceExhausted, "RATE_LIMITED");
    let both = until("two do not fit", async || limited.sign_batch(&batch(2)).await.err()).await;
    assert_refused::<()>(Err(both), Code::ResourceExhausted, "RATE_LIMITED");
    let endorsed = until("endorsements are limited as well", async || {
        limited.endorse("access", &service_key(), HOUR).await.err()
    })
    .await;
    assert_refused::<()>(Err(endorsed), Code::ResourceExhausted, "RATE_LIMITED");

    // Reading is not, and nobody else is either.
    for _ in 0..20 {
        head(&limited).await.unwrap();
        daemon.sign(DOCUMENT).await.unwrap();
    }
    until("the bucket fills again", async || sign(&limited).await.ok()).await;
}

#[tokio::test]
async fn a_caller_without_a_rate_has_the_default() {
    let rate = toml::toml! {
        per_second = 1
        burst = 3
    };
    let hsmd = with_callers(Hsmd::initialised().await, "").set("limits.rate", rate);
    let daemon = hsmd.serve().await;
    daemon.sign_batch(&vec![DOCUMENT.to_owned(); 3]).await.unwrap();
    let refused = until("the bucket is empty", async || daemon.sign(DOCUMENT).await.err()).await;
    assert_refused::<()>(Err(refused), Code::ResourceExhausted, "RATE_LIMITED");
}

#[tokio::test]
async fn a_batch_of_too_many_documents_is_refused() {
    let hsmd = with_callers(Hsmd::initialised().await, "");
    let daemon = hsmd.serve().await;
    let request = v1::SignBatchRequest {
        payloads: vec![DOCUMENT.as_bytes().into(); 257],
        ..Default::default()
    };
    let status = daemon.signer.clone().sign_batch(request).await.unwrap_err();
    assert!(status.get_details_retry_info().is_none());
    let refusal = Refusal::from(status);
    assert_refused::<()>(Err(refusal), Code::ResourceExhausted, "BATCH_TOO_LARGE");
    assert_refused(daemon.sign_batch(&[]).await, Code::InvalidArgument, "MALFORMED_PAYLOAD");
    assert_eq!(daemon.sign_batch(&vec![DOCUMENT.to_owned(); 256]).await.unwrap().len(), 256);
}

/// A bucket of a hundred that takes a hundred seconds to fill: what it holds after a reload shows
/// whether that filled it.
#[tokio::test]
async fn a_reload_is_no_way_to_more_signatures() {
    let slow = LIMITED.replace("burst = 5", "burst = 100");
    let (hsmd, tls) = Tls::of(with_callers(Hsmd::initialised().await, &slow));
    let daemon = hsmd.serve().await;
    let limited = tls.dial(&["limited.example.org"]).remote(&hsmd).rpc;
    let all = vec![DOCUMENT.to_owned(); 100];
    limited.sign_batch(&all).await.unwrap();
    reload(&hsmd, &daemon, |table| {
        let caller = table["caller"][1].as_table_mut().unwrap();
        caller.insert("read_log".into(), false.into());
    })
    .await;
    assert_refused(head(&limited).await, Code::PermissionDenied, "READ_NOT_ALLOWED");
    let refused = limited.sign_batch(&all).await;
    assert_refused(refused, Code::ResourceExhausted, "RATE_LIMITED");
    // Another rate is another bucket.
    reload(&hsmd, &daemon, |table| {
        table["caller"][1]["rate"].as_table_mut().unwrap().insert("per_second".into(), 2.into());
    })
    .await;
    limited.sign_batch(&all).await.unwrap();
}
