//! What others cost the callers: unknown peers at their limits, and a record of each signature. Each is
//! measured with and without, in alternating rounds.

use std::time::Duration;

use hsmd_tests::Hsmd;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::Plan;
use crate::load::{Ask, connect, installation, measure};
use crate::report::{Report, Row, share};
use crate::sample::{Sample, median};
use crate::tls::Tls;

/// Each of three unknown peers has as many connections, together more than the pool.
const CONNECTIONS: usize = 16;

/// Calls at once on a connection.
const STREAMS: usize = 256;

/// How soon an unknown peer is back when its connection was closed.
const COMES_BACK: Duration = Duration::from_secs(1);

/// Measures both.
pub(crate) async fn measure_all(plan: &Plan, report: &mut Report) {
    unknown(plan, report).await;
    records(plan, report).await;
}

/// Sixteen callers, alone and beside three unknown peers.
async fn unknown(plan: &Plan, report: &mut Report) {
    let (hsmd, tls) = Tls::configure(installation().await);
    let _daemon = hsmd.serve().await;
    let channel = connect(&hsmd.path("service.sock")).await;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        eprintln!("unknown peers, round {round} of {}", plan.rounds);
        alone.push(measure(&channel, Ask::Sign, 16, plan.millis).await);
        let mut peers = JoinSet::new();
        for _ in 0..3 * CONNECTIONS {
            peers.spawn(occupy(tls.unknown_peer()));
        }
        // Until they have what they may have.
        tokio::time::sleep(COMES_BACK).await;
        beside.push(measure(&channel, Ask::Sign, 16, plan.millis).await);
        drop(peers);
        tokio::time::sleep(COMES_BACK).await;
    }
    let rows = vec![
        Row::of("Sign, 16 callers", &alone, None),
        Row::of("Sign, 16 callers beside unknown peers", &beside, Some(&alone)),
    ];
    report.table("Unknown peers at their limits", rows);
    let ratios = beside.iter().zip(&alone).map(|(beside, alone)| beside.p99 / alone.p99);
    report.at_most("p99 of 16 callers beside unknown peers / alone", 1.5, median(ratios));
}

/// Keeps all streams of a connection in use, and comes back when it is closed.
async fn occupy(unknown_peer: Endpoint) {
    loop {
        if let Ok(channel) = unknown_peer.connect().await {
            let mut watches = JoinSet::new();
            for _ in 0..STREAMS {
                watches.spawn(watch(channel.clone()));
            }
            drop(watches.join_all().await);
        }
        tokio::time::sleep(COMES_BACK).await;
    }
}

/// Watches health until the stream ends.
async fn watch(channel: Channel) {
    let mut health = tonic::client::Grpc::new(channel);
    if health.ready().await.is_err() {
        return;
    }
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Watch");
    if let Ok(answer) = health.server_streaming(tonic::Request::new(()), path, codec).await {
        let mut stream = answer.into_inner();
        while let Ok(Some(())) = stream.message().await {}
    }
}

/// Sixty-four callers, with and without a record of each signature in a file.
async fn records(plan: &Plan, report: &mut Report) {
    let mut installations = Vec::new();
    for signatures in [false, true] {
        let hsmd = installation().await;
        let hsmd = hsmd
            .set("audit.sink", "file")
            .set("audit.file", "@/audit.jsonl")
            .set("audit.signatures", signatures);
        let daemon = hsmd.serve().await;
        let channel = connect(&hsmd.path("service.sock")).await;
        installations.push((hsmd, daemon, channel));
    }
    let mut samples: [Vec<Sample>; 2] = Default::default();
    for round in 1..=plan.rounds {
        eprintln!("records, round {round} of {}", plan.rounds);
        for ((_, _, channel), samples) in installations.iter().zip(&mut samples) {
            samples.push(measure(channel, Ask::Sign, 64, plan.millis).await);
        }
    }
    let lost = lost(&installations[1].0);
    assert_eq!(lost, 0, "records were lost: the rate is not that of recorded signatures");
    let [without, with] = &samples;
    let rows = vec![
        Row::of("Sign, 64 callers", without, None),
        Row::of("Sign, 64 callers, each recorded", with, Some(without)),
    ];
    report.table("A record of each signature", rows);
    report.at_least("Sign, 64 callers, recorded / not", 0.95, share(with, without));
}

/// How many records the daemon says it has lost.
fn lost(hsmd: &Hsmd) -> usize {
    let records = std::fs::read_to_string(hsmd.path("audit.jsonl")).unwrap_or_default();
    records.matches("\"outcome\":\"Lost\"").count()
}
