//! The model's traces on real daemons, tokens and databases: after each death and at the end the log
//! has the events that the model says, and nobody ever saw two of one number.

use hsmd_model::{Trace, traces};
use hsmd_tests::{Hsmd, Rpc, for_each_case};

/// One after the other on the same identity: each trace leaves both hosts as it has found them.
const PAIRS: usize = 4;

#[tokio::test]
async fn the_daemon_does_what_the_model_does() {
    let traces = traces();
    assert!(traces.len() > 25, "{} traces", traces.len());
    let share = traces.len().div_ceil(PAIRS);
    let shares: Vec<Vec<Trace>> = traces.chunks(share).map(<[Trace]>::to_vec).collect();
    for_each_case(shares, |traces| async move {
        // Each change of the host waits for the lease of the one before, and a second.
        let first = Hsmd::initialised().await.set("lock_grace", "500ms");
        let hosts = [&first, &first.twin()];
        for trace in &traces {
            replay(hosts, trace).await;
        }
        let events = first.history().await.events().len();
        assert_eq!(events, 1 + EVENTS * traces.len());
    })
    .await;
}

/// How many events a trace adds to the log.
const EVENTS: usize = 3;

async fn replay(hosts: [&Hsmd; 2], trace: &Trace) {
    let database = &hosts[0].database;
    let before = database.events().await;
    let head = before[before.len() - 1].event().id();
    // The model begins with event 0.
    let number = |events: usize| before.len() - 1 + events;
    let advance = async |rpc: &Rpc| match trace.taint {
        true => rpc.taint(head.as_str()).await,
        false => rpc.rotate(head.as_str()).await,
    };
    for life in &trace.lives {
        let mut daemon = hosts[life.host].launch_until(&life.failpoint);
        if life.asked {
            daemon.ready().await;
            let answered = advance(&daemon).await;
            // On a busy machine a taint may be answered before its row is committed.
            assert!(trace.taint || answered.is_err(), "{trace:?}: {answered:?}");
        }
        daemon.died().await;
        assert_eq!(database.events().await.len(), number(life.events), "{trace:?}");
    }

    let daemon = hosts[trace.host].serve().await;
    assert_eq!(database.events().await.len(), number(trace.events), "{trace:?}");
    let (one, performed) = advance(&daemon).await.unwrap_or_else(|e| panic!("{trace:?}: {e:?}"));
    assert_eq!(performed, trace.performed, "{trace:?}");
    assert_eq!(one.event().taint_previous(), trace.taint, "{trace:?}");
    let two = daemon.rotate_head().await.event().sequence_number();
    assert_eq!(hosts[0].token.private_keys(), [two, two + 1], "{trace:?}");
    daemon.stop().await;

    // The other host is not left behind: what its journal holds is in the log.
    let daemon = hosts[1 - trace.host].serve().await;
    daemon.rotate_head().await;
    daemon.stop().await;
    assert_eq!(database.events().await.len(), before.len() + EVENTS, "{trace:?}");
}
