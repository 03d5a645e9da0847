//! Clients that would fill the daemon's memory: with messages that they never finish, and with replies
//! that they never take.

use hsmd_tests::until;
use tokio::io::AsyncWriteExt;

use super::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, HEADERS, LIST, NO_WINDOW, SETTINGS, SIGN, begin, frame,
    headers, message, next,
};
use super::{Arena, for_ever};
use crate::operation::errors::assert_documented;
use crate::operation::http::get;
use crate::operation::observe;
use crate::operation::remote::Wire;

/// The least that can be configured for one caller.
const MOST: i64 = 8 * 1024 * 1024;

/// Calls on one connection, each with this body in one frame.
const CALLS: u32 = 200;

/// What the hostile caller does: calls with settings of their connection, a path, and a frame's flags
/// and payload as their body.
type Calls<'a> = (&'a [u8], &'a str, u8, &'a [u8]);

/// Many calls on one connection; what of them the daemon refuses stays unread. It may close a connection whose
/// calls it refuses.
async fn make(arena: &Arena, (settings, path, flags, body): Calls<'_>) -> Wire {
    let mut wire = begin(&arena.hostile(), settings).await;
    next(&mut wire, SETTINGS).await.unwrap();
    wire.write_all(&frame(SETTINGS, ACK, 0, &[])).await.unwrap();
    for number in 0..CALLS {
        let stream = 2 * number + 1;
        let begun = frame(HEADERS, END_HEADERS, stream, &headers(path));
        if wire.write_all(&[begun, frame(DATA, flags, stream, body)].concat()).await.is_err() {
            break;
        }
    }
    wire
}

/// The hostile caller takes its share, nobody else notices, and it gets it back when it lets go.
async fn a_share_and_no_more(calls: Calls<'_>) {
    let arena = Arena::with(|hsmd| hsmd.set("limits.bytes_in_flight_per_caller", MOST)).await;
    let hostile = arena.hostile().remote(&arena.hsmd).rpc;
    // Larger than each of the calls: where it fits, another of them does.
    let large = format!(r#"{{"purpose":"document","text":"{}"}}"#, "a".repeat(8_000));
    let mut held = Vec::new();
    let refusal = until("it has had its share", async || {
        held.push(make(&arena, calls).await);
        hostile.sign(&large).await.err()
    })
    .await;
    assert!(refusal.message.contains(&MOST.to_string()), "{refusal:?}");
    assert_documented::<()>("BYTES_IN_FLIGHT", Err(refusal));
    arena.is_served().await;
    let resident = arena.daemon.resident_kib();
    assert!(resident < 256 * 1024, "{resident} KiB");
    drop(held);
    until("its share again", async || hostile.sign(&large).await.ok()).await;
    arena.survives(for_ever(())).await;
}

/// As many callers as have more than there is in all: one here.
#[tokio::test(flavor = "multi_thread")]
async fn that_all_bytes_are_in_use_is_said_by_health_status_and_a_metric() {
    let mut metrics = None;
    let arena = Arena::with(|hsmd| {
        let (hsmd, address) = observe::observed(hsmd);
        metrics = Some(address);
        hsmd.set("limits.bytes_in_flight_per_caller", MOST).set("limits.bytes_in_flight", MOST)
    })
    .await;
    let metrics = metrics.unwrap();
    let large = format!(r#"{{"purpose":"document","text":"{}"}}"#, "a".repeat(8_000));
    let part = &message(&[0; 60_000])[..4_000];
    let mut held = Vec::new();
    until("another caller is refused", async || {
        held.push(make(&arena, (&[], SIGN, 0, part)).await);
        arena.good.sign(&large).await.err()
    })
    .await;
    until("health and Status say so", async || {
        // Said for a second after each refusal.
        let refusal = arena.good.sign(&large).await.err()?;
        assert_eq!(refusal.reason, "BYTES_IN_FLIGHT", "{refusal:?}");
        let (code, why) = get(metrics, "/ready").await;
        let status = arena.daemon.status().await.unwrap();
        let words = "limits.bytes_in_flight is used up";
        let said = status.problems.iter().any(|problem| problem.contains(words));
        (code == 503 && why.contains(words) && said).then_some(())
    })
    .await;
    let series = r#"hsmd_limit_refusals_total{limit="bytes_in_flight"}"#;
    assert!(observe::value(metrics, series).await.unwrap() > 0.0);
    drop(held);
    until("signatures again", async || arena.good.sign(&large).await.ok()).await;
    until("ready again", async || (get(metrics, "/ready").await.0 == 200).then_some(())).await;
    arena.survives(for_ever(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_never_finished_take_a_callers_share_and_no_more() {
    // What one connection may send before the daemon has read it is less than a mebibyte.
    let part = &message(&[0; 60_000])[..4_000];
    a_share_and_no_more((&[], SIGN, 0, part)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_that_are_never_taken_take_a_callers_share_and_no_more() {
    a_share_and_no_more((&NO_WINDOW, LIST, END_STREAM, &message(&[]))).await;
}
