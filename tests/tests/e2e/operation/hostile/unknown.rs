//! Peers who are no configured caller: what all of them together use up is theirs alone.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hsmd_tests::{Daemon, Refusal, Rpc, until};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tonic::Code;

use super::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, HEADERS, SETTINGS, answer_pings, frame, headers, message,
    next,
};
use super::{Arena, ELSEWHERE};
use crate::operation::remote::{Dial, PREFACE, Wire};
use crate::operation::{DOCUMENT, HOUR, observe, service_key};

const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";

/// As many watches of health as one connection has streams.
const WATCHES: u32 = 256;

/// As many connections as each of the three tries to have: together more than the pool.
const CONNECTIONS: usize = 16;

/// How soon an unknown peer is back when its connection was closed: so often that the daemon is never without
/// them, so seldom that a machine of two cores is not busy with their handshakes alone.
const COMES_BACK: Duration = Duration::from_secs(10);

/// Connections of the pool, unfinished handshakes, and the few of the callers and of the daemon itself.
const MOST_DESCRIPTORS: usize = 32 + 64 + 16;

const REFUSALS: &str = r#"hsmd_limit_refusals_total{limit="unknown_bytes_in_flight"}"#;

/// Peers who may do nothing, each at its limits, until dropped.
pub(crate) struct UnknownPeers(JoinSet<()>);

impl UnknownPeers {
    pub(crate) fn none() -> Self {
        Self(JoinSet::new())
    }

    /// One more, who connects like this and keeps all streams of all connections in use.
    pub(crate) fn join<F>(&mut self, connect: impl Fn() -> F + Clone + Send + Sync + 'static)
    where
        F: Future<Output = io::Result<Wire>> + Send + 'static,
    {
        for _ in 0..CONNECTIONS {
            let connect = connect.clone();
            self.0.spawn(async move {
                loop {
                    if let Ok(mut wire) = connect().await
                        && occupy(&mut wire).await.is_ok()
                    {
                        answer_pings(&mut wire).await;
                    }
                    tokio::time::sleep(COMES_BACK).await;
                }
            });
        }
    }

    /// One more, who connects a hundred times and says nothing.
    fn join_silent(&mut self, dial: &Dial) {
        for _ in 0..100 {
            let dial = dial.clone();
            self.0.spawn(async move {
                loop {
                    if let Ok(wire) = dial.connect().await {
                        wire.closed().await;
                    }
                    tokio::time::sleep(COMES_BACK).await;
                }
            });
        }
    }
}

/// Uses all streams of a connection.
async fn occupy(wire: &mut Wire) -> io::Result<()> {
    wire.write_all(PREFACE).await?;
    next(wire, SETTINGS).await?;
    wire.write_all(&frame(SETTINGS, ACK, 0, &[])).await?;
    for number in 0..WATCHES {
        let stream = 2 * number + 1;
        let call = frame(HEADERS, END_HEADERS, stream, &headers(HEALTH_WATCH));
        let body = frame(DATA, END_STREAM, stream, &message(&[]));
        wire.write_all(&[call, body].concat()).await?;
    }
    Ok(())
}

/// Waits until the unknown peers have all that they may have.
pub(crate) async fn until_used_up(metrics: SocketAddr) -> f64 {
    until("the pool is used up", async || {
        observe::value(metrics, REFUSALS).await.filter(|refused| *refused > 0.0)
    })
    .await
}

/// While unknown peers are at their limits: 200 Signs, a taint and 50 endorsements by callers, half of them on
/// new connections, and never more descriptors than there are for unknown peers. `before` are the daemon's
/// without them.
pub(crate) async fn callers_are_served(
    daemon: &Daemon,
    metrics: SocketAddr,
    before: usize,
    connect: impl AsyncFn() -> Rpc,
) {
    let refused = until_used_up(metrics).await;
    let kept = connect().await;
    // Those of a connection that has just ended are given back soon.
    let bounded = async || {
        until("few descriptors for unknown peers", async || {
            daemon.descriptors().saturating_sub(before) <= MOST_DESCRIPTORS
        })
        .await;
    };
    for _ in 0..100 {
        served("a signature", async || kept.sign(DOCUMENT).await).await;
        served("a signature on a new connection", async || connect().await.sign(DOCUMENT).await)
            .await;
        bounded().await;
    }
    let head = daemon.head().await.event().id();
    served("a taint", async || daemon.taint(head.as_str()).await).await;
    let key = service_key();
    for _ in 0..25 {
        served("an endorsement", async || kept.endorse("access", &key, HOUR).await).await;
        let new = async || connect().await.endorse("access", &key, HOUR).await;
        served("an endorsement on a new connection", new).await;
        bounded().await;
    }
    // Nothing of theirs is used up; that the machine is busy may be a problem for a moment.
    until("no problem", async || daemon.status().await.is_ok_and(|it| it.problems.is_empty()))
        .await;
    // They are there still, and still get no more.
    until("calls of unknown peers are refused", async || {
        observe::value(metrics, REFUSALS).await.filter(|now| *now > refused)
    })
    .await;
}

/// A call by a caller, which no limit refuses. On a machine that is busy otherwise a connection can be lost, whose
/// ends answer each other late: a caller's library calls again then.
pub(crate) async fn served<T>(what: &str, call: impl AsyncFn() -> Result<T, Refusal>) {
    until(what, async || match call().await {
        Ok(_) => true,
        Err(refusal) => {
            assert_eq!(refusal.reason, "", "{what}: {refusal:?}");
            false
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_unknown_peers_over_tls_use_up_nothing_of_the_callers() {
    let mut metrics = None;
    let arena = Arena::with(|hsmd| {
        let (hsmd, address) = observe::observed(hsmd);
        metrics = Some(address);
        hsmd
    })
    .await;
    let (metrics, before) = (metrics.unwrap(), arena.daemon.descriptors());
    let mut peers = UnknownPeers::none();
    let from = |host| Ipv4Addr::new(127, 66, 66, host);
    for host in 1..=3 {
        let unknown = arena.tls.dial(&["stranger.example.org"]).from(from(host));
        peers.join(move || {
            let unknown = unknown.clone();
            async move { unknown.connect().await }
        });
    }
    until_used_up(metrics).await;
    // From elsewhere: they must not keep the others' handshakes out, whose calls are to be seen.
    for host in 11..=13 {
        peers.join_silent(&Dial::plaintext(arena.tls.address).from(from(host)));
    }
    let connect = async || arena.tls.dial(&["good.example.org"]).remote(&arena.hsmd).rpc;
    callers_are_served(&arena.daemon, metrics, before, connect).await;
    drop(peers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_without_sign_purposes_is_refused_before_its_batch_is_read() {
    let arena = Arena::new().await;
    let dial = arena.tls.dial(&["reader.example.org"]).from(ELSEWHERE);
    let refusal = dial.remote(&arena.hsmd).rpc.sign(DOCUMENT).await.unwrap_err();
    assert_eq!((refusal.code, &*refusal.reason), (Code::PermissionDenied, "PURPOSE_NOT_ALLOWED"));
    // Only the headers are sent: the answer does not wait for a body.
    let mut wire = dial.connect().await.unwrap();
    wire.write_all(PREFACE).await.unwrap();
    let call = frame(HEADERS, END_HEADERS, 1, &headers("/hsmd.v1.Signer/SignBatch"));
    wire.write_all(&call).await.unwrap();
    next(&mut wire, HEADERS).await.expect("an answer");
}

/// 256 documents of 16,300 bytes are a request that the daemon accepts, and their bodies a reply that no
/// client does.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_reply_would_not_fit_is_refused_before_anything_is_signed() {
    let arena = Arena::new().await;
    let document = format!(r#"{{"purpose":"document","text":"{}"}}"#, "a".repeat(16_268));
    assert_eq!(document.len(), 16_300);
    let refusal = arena.good.sign_batch(&vec![document.clone(); 256]).await.unwrap_err();
    let expected = (Code::ResourceExhausted, "BATCH_TOO_LARGE");
    assert_eq!((refusal.code, &*refusal.reason), expected, "{refusal:?}");
    assert_eq!(arena.good.sign_batch(&vec![document; 250]).await.expect("less").len(), 250);
}
