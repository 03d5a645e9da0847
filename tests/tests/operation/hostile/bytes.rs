//! Clients that would fill the daemon's memory: with messages that they never finish, and with replies
//! that they never take.

use hsmd_tests::until;
use tokio::io::AsyncWriteExt;

use super::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, HEADERS, LIST, NO_WINDOW, SETTINGS, SIGN, begin, frame,
    headers, message, next,
};
use super::{Arena, for_ever};
use crate::DOCUMENT;
use crate::errors::assert_documented;
use crate::remote::Wire;

/// The least that can be configured for one caller.
const MOST: i64 = 8 * 1024 * 1024;

/// Calls on one connection, each with this body in one frame.
const CALLS: u32 = 200;

async fn arena() -> Arena {
    Arena::with(|hsmd| hsmd.set("limits.bytes_in_flight_per_caller", MOST)).await
}

/// Many calls on one connection; what of them the daemon refuses stays unread.
async fn calls(arena: &Arena, settings: &[u8], path: &str, flags: u8, body: &[u8]) -> Wire {
    let mut wire = begin(&arena.hostile(), settings).await;
    next(&mut wire, SETTINGS).await.unwrap();
    wire.write_all(&frame(SETTINGS, ACK, 0, &[])).await.unwrap();
    for number in 0..CALLS {
        let stream = 2 * number + 1;
        let begun = frame(HEADERS, END_HEADERS, stream, &headers(path));
        wire.write_all(&[begun, frame(DATA, flags, stream, body)].concat()).await.unwrap();
    }
    wire
}

/// The hostile caller has had its share, nobody else notices, and it gets it back when it lets go.
async fn has_had_its_share(arena: Arena, held: Vec<Wire>) {
    let hostile = arena.hostile().remote(&arena.hsmd).rpc;
    let refusal = until("it has had its share", async || hostile.sign(DOCUMENT).await.err()).await;
    assert!(refusal.message.contains(&MOST.to_string()), "{refusal:?}");
    assert_documented::<()>("BYTES_IN_FLIGHT", Err(refusal));
    arena.is_served().await;
    let held_by_the_daemon = arena.daemon.resident_kib();
    drop(held);
    until("its share again", async || hostile.sign(DOCUMENT).await.ok()).await;
    assert!(held_by_the_daemon < 256 * 1024, "{held_by_the_daemon} KiB");
    arena.survives(for_ever(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_never_finished_take_a_callers_share_and_no_more() {
    let arena = arena().await;
    let mut held = Vec::new();
    // What one connection may send before the daemon has read it is less than a mebibyte.
    let part = &message(&[0; 60_000])[..4_000];
    for _ in 0..4 {
        held.push(calls(&arena, &[], SIGN, 0, part).await);
    }
    has_had_its_share(arena, held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_that_are_never_taken_take_a_callers_share_and_no_more() {
    let arena = arena().await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(calls(&arena, &NO_WINDOW, LIST, END_STREAM, &message(&[])).await);
    }
    has_had_its_share(arena, held).await;
}
