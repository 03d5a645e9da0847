//! Peers who are no configured caller: what all of them together use up is theirs alone.

use std::net::Ipv4Addr;

use hsmd_tests::until;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tonic::Code;

use super::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, HEADERS, SETTINGS, frame, headers, message, next,
};
use super::{Arena, ELSEWHERE};
use crate::operation::remote::{Dial, PREFACE, Wire};
use crate::operation::{DOCUMENT, HOUR, observe, service_key};

const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";

/// As many watches of health as one connection has streams.
const WATCHES: u32 = 256;

/// A connection with all its streams in use; none when the daemon closes it at once.
async fn occupied(dial: &Dial) -> Option<Wire> {
    let mut wire = dial.connect().await.ok()?;
    wire.write_all(PREFACE).await.ok()?;
    next(&mut wire, SETTINGS).await.ok()?;
    wire.write_all(&frame(SETTINGS, ACK, 0, &[])).await.ok()?;
    for number in 0..WATCHES {
        let stream = 2 * number + 1;
        let call = frame(HEADERS, END_HEADERS, stream, &headers(HEALTH_WATCH));
        let body = frame(DATA, END_STREAM, stream, &message(&[]));
        wire.write_all(&[call, body].concat()).await.ok()?;
    }
    Some(wire)
}

#[tokio::test(flavor = "multi_thread")]
async fn three_unknown_peers_at_their_limits_use_up_nothing_of_the_callers() {
    let (address, arena) = {
        let mut observed = None;
        let arena = Arena::with(|hsmd| {
            let (hsmd, address) = observe::observed(hsmd);
            observed = Some(address);
            hsmd
        })
        .await;
        (observed.unwrap(), arena)
    };
    let before = arena.daemon.descriptors();
    let mut held = JoinSet::new();
    for host in 1..=3 {
        let from = Ipv4Addr::new(127, 66, 66, host);
        let unknown = arena.tls.dial(&["stranger.example.org"]).from(from);
        for _ in 0..16 {
            let unknown = unknown.clone();
            held.spawn(async move { occupied(&unknown).await });
        }
        // Half a handshake, and then nothing.
        let silent = Dial::plaintext(arena.tls.address).from(from);
        for _ in 0..100 {
            let silent = silent.clone();
            held.spawn(async move { silent.connect().await.ok() });
        }
    }
    let held = held.join_all().await;
    let refusals = r#"hsmd_limit_refusals_total{limit="unknown_bytes_in_flight"}"#;
    until("the pool is used up", async || {
        observe::value(address, refusals).await.filter(|refused| *refused > 0.0)
    })
    .await;
    // 32 connections and 64 handshakes at the most, and the callers' own few.
    let added = arena.daemon.descriptors().saturating_sub(before);
    assert!(added <= 32 + 64 + 8, "{added} descriptors for unknown peers");

    for _ in 0..100 {
        arena.good.sign(DOCUMENT).await.expect("a signature");
        let new = arena.tls.dial(&["good.example.org"]).remote(&arena.hsmd).rpc;
        new.sign(DOCUMENT).await.expect("a signature on a new connection");
    }
    arena.daemon.taint_head().await;
    for _ in 0..50 {
        arena.good.endorse("access", &service_key(), HOUR).await.expect("an endorsement");
    }
    let status = arena.daemon.status().await.unwrap();
    assert!(status.problems.is_empty(), "{:?}", status.problems);
    drop(held);
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
