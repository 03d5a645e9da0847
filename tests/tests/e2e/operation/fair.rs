//! The token is shared between callers: who asks for most does not make the others wait for it.

use std::time::Duration;

use hsmd_fault::Times;
use hsmd_tests::{Hsmd, until};
use tokio::task::JoinSet;
use tonic::Code;

use crate::DOCUMENT;
use crate::operation::{Tls, with_callers};

/// A rate and budgets that are no limit here: what is to be seen is the queue.
const GREEDY: &str = r#"
    [[caller]]
    name = "greedy"
    san = "greedy.example.org"
    sign = ["document"]
    rate = { per_second = 1000000, burst = 1000000 }
"#;

const BATCHES: usize = 1100;
const BATCH: usize = 256;
/// Half of the default `queue_length`.
const SHARE: usize = 8192;
const SIGNATURE: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_with_many_batches_makes_another_wait_for_no_more_than_one() {
    let (hsmd, faults) = Hsmd::initialised().await.with_faults();
    let (hsmd, tls) = Tls::of(with_callers(hsmd, GREEDY));
    let hsmd = hsmd
        .set("token.0.hang_limit", "1h")
        .set("limits.bytes_in_flight", 1 << 28)
        .set("limits.bytes_in_flight_per_caller", 1 << 28);
    let daemon = hsmd.serve().await;
    let sign = "C_Sign".parse().unwrap();
    // Nothing is signed until all are there.
    faults.hang(sign, Times::always()).unwrap();
    let mut greedy = JoinSet::new();
    for connection in 0..5 {
        let rpc = tls.dial(&["greedy.example.org"]).remote(&hsmd).rpc;
        for _ in (connection..BATCHES).step_by(5) {
            let rpc = rpc.clone();
            greedy.spawn(async move { rpc.sign_batch(&vec![DOCUMENT.to_owned(); BATCH]).await });
        }
    }
    let mut refused = 0;
    while refused < BATCHES - SHARE / BATCH - 1 {
        let refusal = greedy.join_next().await.unwrap().unwrap().expect_err("more than its share");
        let found = (refusal.code, refusal.reason.as_str());
        assert_eq!(found, (Code::ResourceExhausted, "QUEUE_FULL"), "{refusal:?}");
        refused += 1;
    }
    let waiting = until("its share waits", async || {
        let waiting = daemon.status().await.ok()?.queue_depth as usize;
        (waiting > SHARE - 2 * BATCH).then_some(waiting)
    })
    .await;
    assert!(waiting <= SHARE, "{waiting} documents of one caller");

    faults.delay(sign, SIGNATURE, Duration::ZERO).unwrap();
    faults.release().unwrap();
    let signatures = || {
        let counted = faults.status().function("C_Sign");
        (counted.calls - counted.length_queries) as usize
    };
    for _ in 0..10 {
        let before = signatures();
        daemon.sign(DOCUMENT).await.expect("a signature for another caller");
        let made = signatures() - before;
        // In the order of arrival it would be one of each batch: a thousand.
        assert!(made <= BATCH, "{made} signatures before another caller's");
    }
    while let Some(ended) = greedy.try_join_next() {
        let refusal = ended.unwrap().expect_err("a batch that was done before");
        assert_eq!(refusal.reason, "QUEUE_FULL", "{refusal:?}");
    }
    assert!(greedy.len() >= SHARE / BATCH, "{} batches wait", greedy.len());
}
