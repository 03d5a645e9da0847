//! A thousand callers before a device that takes 70 ms for a signature.

use std::time::{Duration, Instant};

use hsmd_proto::v1;
use hsmd_tests::{Daemon, Hsmd, Refusal, until};
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::StatusExt;

use crate::{ALONE, DOCUMENT};

const CALLERS: usize = 1000;
const QUEUE: usize = 100;
const SIGNATURE: Duration = Duration::from_millis(70);
const ROUNDS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_device_is_no_reason_to_wait() {
    let _alone = ALONE.lock().await;
    let (hsmd, control) = Hsmd::initialised().await.with_faults();
    let hsmd = hsmd.set("token.0.queue_length", QUEUE as i64);
    let daemon = hsmd.serve().await;
    control.delay("C_Sign".parse().unwrap(), SIGNATURE, Duration::ZERO).unwrap();
    let idle = rotations(&daemon).await;
    let before = daemon.resident_kib();

    let mut callers = JoinSet::new();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    for _ in 0..CALLERS / 10 {
        // Ten callers share a connection.
        let rpc = hsmd.rpc();
        for _ in 0..10 {
            let (rpc, stop) = (rpc.clone(), std::sync::Arc::clone(&stop));
            callers.spawn(async move {
                let (mut signed, mut refused) = (0, Vec::new());
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let asked = Instant::now();
                    match rpc.sign(DOCUMENT).await {
                        Ok(_) => signed += 1,
                        Err(refusal) => {
                            assert_eq!(refusal.reason, "QUEUE_FULL", "{refusal:?}");
                            refused.push(asked.elapsed());
                            // As a client does, who is told to try again.
                            tokio::time::sleep(Duration::from_millis(500)).await;
                        }
                    }
                }
                (signed, refused)
            });
        }
    }
    until("the queue is full", async || {
        let refusal = daemon.sign(DOCUMENT).await.err()?;
        (refusal.reason == "QUEUE_FULL").then_some(())
    })
    .await;
    let loaded = rotations(&daemon).await;
    let expired = expired_requests_are_not_signed(&daemon, &control).await;
    let during = daemon.resident_kib();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let (mut signed, mut refused) = (0, Vec::new());
    for (ok, not) in callers.join_all().await {
        signed += ok;
        refused.extend(not);
    }
    refused.sort_unstable();
    let median = refused[refused.len() / 2];
    eprintln!(
        "{CALLERS} callers: {signed} signed, {} refused (median {median:?}), {expired} expired; \
         rotation idle {idle:?}, loaded {loaded:?}; memory {before} KiB, then {during} KiB",
        refused.len()
    );
    assert!(refused.len() > CALLERS / 2 && signed > 0);
    assert!(median < SIGNATURE, "a refusal took {median:?}");
    assert!(during < before + 64 * 1024, "memory grew from {before} to {during} KiB");
    assert!(loaded < idle + 2 * SIGNATURE, "loaded {loaded:?}, idle {idle:?}");
    assert!(loaded.as_secs_f64() <= 1.5 * idle.as_secs_f64(), "loaded {loaded:?}, idle {idle:?}");
    control.clear(hsmd_fault::Scope::All).unwrap();
    assert_eq!(hsmd.history().await.events().len(), 1 + 2 * ROUNDS);
}

/// The median time of a rotation.
async fn rotations(daemon: &Daemon) -> Duration {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let head = daemon.head().await.event().id();
        let began = Instant::now();
        daemon.rotate(head.as_str()).await.expect("a rotation");
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times[ROUNDS / 2]
}

/// Requests whose deadline passes in the queue: the token is asked only for the others.
async fn expired_requests_are_not_signed(daemon: &Daemon, control: &hsmd_fault::Control) -> usize {
    let mut expired = 0;
    let (calls, began) = (control.calls("C_Sign").unwrap(), Instant::now());
    for _ in 0..200 {
        let mut request =
            tonic::Request::new(v1::SignRequest { payload: DOCUMENT.as_bytes().to_vec().into() });
        request.set_timeout(Duration::from_millis(20));
        let status = daemon.signer.clone().sign(request).await.expect_err("the queue is long");
        match status.code() {
            Code::DeadlineExceeded | Code::Cancelled => expired += 1,
            _ => {
                let retry = status.get_details_retry_info();
                assert!(retry.is_some(), "retryable, and when: {status:?}");
                assert_eq!(Refusal::from(status).reason, "QUEUE_FULL");
            }
        }
    }
    // Two signatures' time for what was under way at both ends.
    let at_most = began.elapsed().as_millis() / SIGNATURE.as_millis() + 2;
    let made = control.calls("C_Sign").unwrap() - calls;
    assert!(u128::from(made) <= at_most, "{made} signatures in {:?}", began.elapsed());
    expired
}
