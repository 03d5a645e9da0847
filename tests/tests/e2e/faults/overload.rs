//! A thousand callers before a device that takes 70 ms for a signature.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hsmd_chain::SignedBody;
use hsmd_fault::Control;
use hsmd_proto::v1;
use hsmd_tests::{Daemon, Hsmd, Refusal, Rpc, TEST_TIMEOUT, until};
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::StatusExt;

use crate::DOCUMENT;
use crate::faults::seen::SOON;
use crate::faults::{Seen, faults};

faults! {
    "Load":
    overload: "1,000 callers, and a signature takes 70 ms", "nothing";
}

const CALLERS: usize = 1000;
const QUEUE: usize = 100;
const SIGNATURE: Duration = Duration::from_millis(70);
const ROUNDS: usize = 5;
/// As many signatures as the caller may have in the queue.
const WAITED: u64 = QUEUE as u64;
const EXPIRED: usize = 5;
/// One caller after the other: what is to be seen is the queue before the token, not how fast this
/// build of the daemon reads a thousand requests.
const ARRIVAL: Duration = Duration::from_millis(4);
const FIRST_RETRY: Duration = Duration::from_millis(500);
const RETRY_AT_MOST: Duration = Duration::from_secs(8);

/// A thousand callers take a runtime with more than one thread.
async fn overload() -> Seen {
    let played = tokio::task::spawn_blocking(|| {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(a_slow_device_is_no_reason_to_wait())
    });
    played.await.expect("an overload that ends well")
}

async fn a_slow_device_is_no_reason_to_wait() -> Seen {
    let mut seen = Seen::default();
    let (hsmd, control) = Hsmd::initialised().await.with_faults();
    // They are one caller, who may have half of it.
    let hsmd = hsmd.set("token.0.queue_length", 2 * QUEUE as i64);
    let daemon = hsmd.serve().await;
    control.delay("C_Sign".parse().unwrap(), SIGNATURE, Duration::ZERO).unwrap();
    let token = Arc::new(control);
    let before = daemon.resident_kib();

    let (mut callers, stop) = (JoinSet::new(), Arc::<AtomicBool>::default());
    for _ in 0..CALLERS / 10 {
        // Ten callers share a connection.
        let rpc = hsmd.rpc();
        for _ in 0..10 {
            callers.spawn(call(rpc.clone(), Arc::clone(&token), Arc::clone(&stop)));
            tokio::time::sleep(ARRIVAL).await;
        }
    }
    // A lost connection gives no reason.
    let refusal = until("the queue is full", async || {
        daemon.sign(DOCUMENT).await.err().filter(|refusal| !refusal.reason.is_empty())
    })
    .await;
    assert_eq!(refusal.reason, "QUEUE_FULL", "{refusal:?}");
    seen.refused("Sign", &refusal);
    let overtaken_by = signatures_beside_a_rotation(&daemon, &token).await;
    seen.said("Rotate", "OK, before what waits");
    expired_requests_are_not_signed(&hsmd, &token).await;
    seen.said("Sign whose deadline passes", "DeadlineExceeded; the token is never asked");
    let during = daemon.resident_kib();
    stop.store(true, Ordering::Relaxed);
    let (mut signed, mut refused) = (0, Vec::new());
    for (ok, not) in callers.join_all().await {
        signed += ok.len();
        seen.keep(ok);
        refused.extend(not);
    }
    refused.sort_unstable();
    let median = refused[refused.len() / 2];
    eprintln!(
        "{CALLERS} callers: {signed} signed, {} refused; the token signs {overtaken_by} times beside a \
         rotation, {median} times before a refusal; memory {before} KiB, then {during} KiB",
        refused.len()
    );
    assert!(refused.len() > CALLERS / 2 && signed > 0);
    // Who waits in the queue sees at least as many signatures made as it is long.
    assert!(median < WAITED / 2, "a refusal came after {median} signatures");
    assert!(overtaken_by < WAITED / 2, "a rotation came after {overtaken_by} signatures");
    assert!(during < before + 64 * 1024, "memory grew from {before} to {during} KiB");
    token.clear(hsmd_fault::Scope::All).unwrap();
    seen.signs_within(SOON, &daemon).await;
    seen.nothing_lost(&hsmd, 1 + ROUNDS).await.whatever_was_signed()
}

/// How often the token has signed.
fn signatures(token: &Control) -> u64 {
    let counted = token.status().function("C_Sign");
    counted.calls - counted.length_queries
}

/// A caller who has a document signed again and again: what was signed, and how often the token signed
/// while a refusal was on its way.
async fn call(rpc: Rpc, token: Arc<Control>, stop: Arc<AtomicBool>) -> (Vec<SignedBody>, Vec<u64>) {
    let (mut signed, mut refused) = (Vec::new(), Vec::new());
    let mut backoff = FIRST_RETRY;
    while !stop.load(Ordering::Relaxed) {
        let before = signatures(&token);
        match rpc.sign(DOCUMENT).await {
            Ok(body) => {
                signed.push(body);
                backoff = FIRST_RETRY;
            }
            Err(refusal) => {
                // A machine that is busy otherwise answers the daemon's pings late, and loses the connection.
                if !refusal.reason.is_empty() {
                    assert_eq!(refusal.reason, "QUEUE_FULL", "{refusal:?}");
                    refused.push(signatures(&token) - before);
                }
                // As a client does, who is told to try again.
                tokio::time::sleep(backoff).await;
                backoff = (2 * backoff).min(RETRY_AT_MOST);
            }
        }
    }
    (signed, refused)
}

/// How often the token signs from the call to the answer of a rotation: of several, the one that the
/// machine held up least.
async fn signatures_beside_a_rotation(daemon: &Daemon, token: &Control) -> u64 {
    let mut least = u64::MAX;
    for _ in 0..ROUNDS {
        let head = daemon.head().await.event().id();
        let before = signatures(token);
        until("a rotation", async || daemon.rotate(head.as_str()).await.ok()).await;
        least = least.min(signatures(token) - before);
    }
    least
}

/// Requests whose deadline passes in the queue: the token is asked only for the others.
async fn expired_requests_are_not_signed(hsmd: &Hsmd, token: &Control) {
    let mut expired = 0;
    let (before, began) = (signatures(token), Instant::now());
    let mut rpc = hsmd.rpc();
    // Most are refused, for the queue is full: so many get a place in it.
    while expired < EXPIRED {
        assert!(began.elapsed() < TEST_TIMEOUT, "{expired} requests got a place in the queue");
        // Whoever gives up many requests on one connection loses it.
        if expired % 10 == 0 {
            rpc = hsmd.rpc();
        }
        let mut request = tonic::Request::new(v1::SignRequest {
            payload: DOCUMENT.as_bytes().to_vec().into(),
            ..Default::default()
        });
        request.set_timeout(Duration::from_millis(20));
        let status = rpc.signer.sign(request).await.expect_err("the queue is long");
        match status.code() {
            Code::DeadlineExceeded | Code::Cancelled => expired += 1,
            _ if Refusal::from(status.clone()).reason.is_empty() => rpc = hsmd.rpc(),
            _ => {
                let retry = status.get_details_retry_info();
                assert!(retry.is_some(), "retryable, and when: {status:?}");
                assert_eq!(Refusal::from(status).reason, "QUEUE_FULL");
            }
        }
    }
    // Two signatures' time for what was under way at both ends.
    let at_most = began.elapsed().as_millis() / SIGNATURE.as_millis() + 2;
    let made = signatures(token) - before;
    assert!(u128::from(made) <= at_most, "{made} signatures in {:?}", began.elapsed());
}
