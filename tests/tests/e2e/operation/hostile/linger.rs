//! Clients that do next to nothing, for as long as they may.

use std::time::{Duration, Instant};

use hsmd_tests::{TEST_TIMEOUT, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::frames::{DATA, END_STREAM, NO_WINDOW, SIGN, WATCH, half_a_call, message, next};
use super::{Arena, ELSEWHERE, for_ever};
use crate::operation::remote::{Dial, PREFACE};

/// Writes a byte a second; returns when the daemon closes the connection.
async fn trickle(wire: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), bytes: &[u8]) {
    let began = Instant::now();
    let mut rest = bytes.iter();
    let mut seen = [0; 64];
    loop {
        match tokio::time::timeout(Duration::from_secs(1), wire.read(&mut seen)).await {
            // Closed, by an end or a reset.
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(_)) => {}
            Err(_) => {
                // The daemon's patience is ten seconds; a loaded machine's scheduler takes its time.
                assert!(began.elapsed() < TEST_TIMEOUT, "a slow loris is still connected");
                let Some(byte) = rest.next() else { continue };
                if wire.write_all(&[*byte]).await.is_err() {
                    break;
                }
            }
        }
    }
}

/// Both take their time, so they take it together.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_next_to_nothing_is_closed() {
    tokio::join!(slow_lorises_are_closed(), half_open_watches_are_closed());
}

async fn slow_lorises_are_closed() {
    let arena = Arena::new().await;
    let (address, socket) = (arena.tls.address, arena.hsmd.path("service.sock"));
    let mut lorises = JoinSet::new();
    for number in 0..100 {
        let (hostile, socket) = (arena.hostile(), socket.clone());
        lorises.spawn(async move {
            match number % 4 {
                // Nothing at all, and the beginning of a handshake.
                0 => {
                    let dial = Dial::plaintext(address).from(ELSEWHERE);
                    trickle(&mut dial.connect().await.unwrap(), b"").await;
                }
                1 => {
                    let dial = Dial::plaintext(address).from(ELSEWHERE);
                    trickle(&mut dial.connect().await.unwrap(), b"\x16\x03\x01\x02\0\x01").await;
                }
                // A good certificate, and then no preface to speak of. While the others use up the
                // handshakes it may be closed at once.
                2 => {
                    if let Ok(mut wire) = hostile.connect().await {
                        trickle(&mut wire, PREFACE).await;
                    }
                }
                _ => trickle(&mut UnixStream::connect(socket).await.unwrap(), PREFACE).await,
            }
        });
    }
    arena.is_served().await;
    lorises.join_all().await;
    arena.survives(for_ever(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_never_end_hold_up_nobody() {
    let arena = Arena::new().await;
    let hostile = arena.hostile();
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(half_a_call(&hostile, SIGN, &[], 0, &message(&[0; 100])[..50]).await);
    }
    arena.survives(for_ever(held)).await;
}

/// Watchers that are there and read nothing: some let the daemon send nothing (a window of 0), some
/// do not answer its pings. They hold up nobody.
async fn half_open_watches_are_closed() {
    let arena = Arena::new().await;
    let hostile = arena.hostile();
    // from_sequence 0 is the empty message.
    let watch = message(&[]);
    let mut slow = Vec::new();
    for _ in 0..100 {
        slow.push(half_a_call(&hostile, WATCH, &NO_WINDOW, END_STREAM, &watch).await);
    }
    let mut half_open = half_a_call(&hostile, WATCH, &[], END_STREAM, &watch).await;
    next(&mut half_open, DATA).await.expect("the first event");
    arena.is_served().await;
    // A proper watcher still gets every event at once; all this while nobody answers a ping.
    arena.daemon.rotate_head().await;
    within(3 * TEST_TIMEOUT, "half-open watches are closed", async || {
        let mut seen = [0; 4096];
        let read = tokio::time::timeout(Duration::from_millis(100), half_open.read(&mut seen));
        matches!(read.await, Ok(Ok(0) | Err(_))).then_some(())
    })
    .await;
    for wire in slow {
        wire.closed().await;
    }
    arena.is_served().await;
    arena.daemon.stop().await;
    assert_eq!(arena.hsmd.history().await.events().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_watchers_who_read_nothing() {
    let arena = Arena::new().await;
    let watch = half_a_call(&arena.hostile(), WATCH, &NO_WINDOW, END_STREAM, &message(&[])).await;
    arena.survives(for_ever(watch)).await;
}
