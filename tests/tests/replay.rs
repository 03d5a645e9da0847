//! The model's traces on real daemons, tokens and databases: after each death and at the end the log
//! has the events that the model says, and nobody ever saw two of one number.
#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "a replay fails the test that it is part of"
)]

use hsmd_model::{Trace, traces};
use hsmd_tests::{Hsmd, Rpc, for_each_case};

#[tokio::test]
async fn the_daemon_does_what_the_model_does() {
    let traces = traces();
    assert!(traces.len() > 25, "{} traces", traces.len());
    for_each_case(traces, replay).await;
}

async fn replay(trace: Trace) {
    let first = Hsmd::initialised().await;
    let hosts = [&first, &first.twin()];
    let zero = first.database.events().await[0].event().id();
    let advance = async |rpc: &Rpc| match trace.taint {
        true => rpc.taint(zero.as_str()).await,
        false => rpc.rotate(zero.as_str()).await,
    };
    for life in &trace.lives {
        let mut daemon = hosts[life.host].launch_until(&life.failpoint);
        if life.asked {
            daemon.ready().await;
            advance(&daemon).await.expect_err("it dies before it answers");
        }
        daemon.died().await;
        assert_eq!(first.database.events().await.len(), life.events, "{trace:?}");
    }

    let daemon = hosts[trace.host].serve().await;
    assert_eq!(first.database.events().await.len(), trace.events, "{trace:?}");
    let (one, performed) = advance(&daemon).await.unwrap_or_else(|e| panic!("{trace:?}: {e:?}"));
    assert_eq!(performed, trace.performed, "{trace:?}");
    assert_eq!(one.event().taint_previous(), trace.taint, "{trace:?}");
    daemon.rotate_head().await;
    assert_eq!(first.token.private_keys(), [2, 3], "{trace:?}");
    daemon.stop().await;

    // The other host is not left behind: what its journal holds is in the log.
    let daemon = hosts[1 - trace.host].serve().await;
    daemon.rotate_head().await;
    assert_eq!(hosts[1 - trace.host].history().await.events().len(), 4, "{trace:?}");
}
