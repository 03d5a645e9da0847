//! Clients that send as much as they can.

use hsmd_proto::v1;
use hsmd_tests::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tonic::{Code, Request};

use super::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, SIGN,
    answer_pings, frame, headers, literal, message, next,
};
use super::{Arena, ELSEWHERE, for_ever};
use crate::operation::DOCUMENT;
use crate::operation::remote::{PREFACE, Wire};

/// GOAWAY's error code for a peer that asks too much (RFC 9113 section 7).
const ENHANCE_YOUR_CALM: u32 = 0xb;

fn error_code(goaway: &[u8]) -> u32 {
    u32::from_be_bytes(goaway[4..8].try_into().unwrap())
}

async fn greet(wire: &mut Wire) {
    wire.write_all(PREFACE).await.unwrap();
    next(wire, SETTINGS).await.unwrap();
    wire.write_all(&frame(SETTINGS, ACK, 0, &[])).await.unwrap();
}

/// Sends rounds of frames until the daemon ends the connection; what it says last, if anything.
async fn flood(
    mut wire: Wire,
    mut round: impl FnMut(u32) -> Vec<u8> + Send + 'static,
) -> Option<u32> {
    greet(&mut wire).await;
    let (mut reader, mut writer) = tokio::io::split(wire);
    let writing = tokio::spawn(async move {
        let mut stream = 1;
        // Ends when the daemon closes; a flood that it would bear for ever fails by its length.
        while stream < 400_000 {
            if writer.write_all(&round(stream)).await.is_err() {
                return;
            }
            stream += 2;
        }
        panic!("the daemon bears it");
    });
    let mut said = Vec::new();
    // A reset after the GOAWAY is as good an end as any.
    drop(reader.read_to_end(&mut said).await);
    writing.await.unwrap();
    let mut rest = said.as_slice();
    while let [a, b, c, kind, _, _, _, _, _, after @ ..] = rest {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        if *kind == GOAWAY && after.len() >= length {
            return Some(error_code(&after[..length]));
        }
        rest = after.get(length..).unwrap_or_default();
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_resets_end_the_connection() {
    let arena = Arena::new().await;
    let hostile = arena.hostile();
    let mut floods = JoinSet::new();
    for _ in 0..8 {
        let wire = hostile.connect().await.unwrap();
        floods.spawn(flood(wire, |stream| {
            let call = frame(HEADERS, END_HEADERS, stream, &headers(SIGN));
            [call, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
        }));
    }
    arena.is_served().await;
    for said in floods.join_all().await {
        assert!(said.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{said:?}");
    }
    // For ever, with a new connection whenever one was ended.
    let trouble = async {
        loop {
            let wire = hostile.connect().await.unwrap();
            flood(wire, |stream| {
                let call = frame(HEADERS, END_HEADERS, stream, &headers(SIGN));
                [call, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
            })
            .await;
        }
    };
    tokio::select! {
        () = trouble => {}
        () = async { for _ in 0..5 { arena.is_served().await } } => {}
    }
    arena.survives(for_ever(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_end_end_the_connection() {
    let arena = Arena::new().await;
    let mut begun = false;
    let said = flood(arena.hostile().connect().await.unwrap(), move |_| {
        let mut block = if begun { Vec::new() } else { headers(SIGN) };
        for _ in 0..50 {
            literal(&mut block, "x-more", &"a".repeat(100));
        }
        let kind = if begun { CONTINUATION } else { HEADERS };
        begun = true;
        frame(kind, 0, 1, &block)
    })
    .await;
    assert!(said.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{said:?}");
    arena.survives(for_ever(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_settings_and_pings_are_borne_or_ended() {
    let arena = Arena::new().await;
    let hostile = arena.hostile();
    let trouble = async {
        loop {
            // The daemon stops in the end.
            let Ok(mut wire) = hostile.greeted().await else {
                tokio::task::yield_now().await;
                continue;
            };
            let round = [frame(SETTINGS, 0, 0, &[]), frame(PING, 0, 0, &[7; 8])].concat();
            // Nothing is read: what the daemon would answer piles up on its side of the wire only.
            while wire.write_all(&round).await.is_ok() {}
        }
    };
    arena.survives(trouble).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn giant_headers_and_messages_are_refused() {
    let arena = Arena::new().await;
    let hostile = arena.hostile().remote(&arena.hsmd);
    let mut request = Request::new(v1::GetHeadRequest {});
    request.metadata_mut().insert("x-giant", "a".repeat(20_000).parse().unwrap());
    let refused = hostile.rpc.key_log.clone().get_head(request).await;
    assert!(refused.is_err(), "headers of 20 kB");

    for size in [64 * 1024 + 1, 3 << 20] {
        let refusal = hostile.rpc.sign(&"a".repeat(size)).await.unwrap_err();
        assert_eq!((refusal.code, &*refusal.reason), (Code::InvalidArgument, "PAYLOAD_TOO_LARGE"));
    }
    for size in [5 << 20, 30 << 20] {
        let refusal = hostile.rpc.sign(&"a".repeat(size)).await.unwrap_err();
        assert_eq!((refusal.code, &*refusal.reason), (Code::OutOfRange, ""), "{refusal:?}");
    }
    hostile.rpc.sign(DOCUMENT).await.expect("the same connection goes on");
    assert_eq!(hostile.connections(), 1);
    arena.survives(for_ever(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_beyond_the_limit_are_refused() {
    let arena = Arena::with(|hsmd| hsmd.set("limits.streams_per_connection", 8)).await;
    let mut wire = arena.hostile().connect().await.unwrap();
    greet(&mut wire).await;
    for stream in 0..9 {
        let call = frame(HEADERS, END_HEADERS, 2 * stream + 1, &headers(SIGN));
        wire.write_all(&call).await.unwrap();
    }
    let refused = next(&mut wire, RST_STREAM).await.unwrap();
    assert_eq!(u32::from_be_bytes(refused.try_into().unwrap()), 7, "REFUSED_STREAM");
    // A proper client on one connection waits for its turn instead.
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let rpc = arena.good.clone();
        calls.spawn(async move { rpc.sign(DOCUMENT).await });
    }
    for signed in calls.join_all().await {
        signed.expect("a call that had to wait");
    }
    arena.survives(for_ever(wire)).await;
}

/// A stranger's messages are not even read, so they take no memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_messages_take_no_memory() {
    let arena = Arena::new().await;
    let stranger = arena.tls.dial(&["stranger.example.org"]).from(ELSEWHERE);
    let before = arena.daemon.resident_kib();
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut wire = stranger.connect().await.unwrap();
        greet(&mut wire).await;
        for number in 0..50 {
            let stream = 2 * number + 1;
            wire.write_all(&frame(HEADERS, END_HEADERS, stream, &headers(SIGN))).await.unwrap();
            let part = message(&[0; 60_000]);
            // The daemon refuses the call, and takes what comes after that for nothing.
            if wire.write_all(&frame(DATA, 0, stream, &part[..16_000])).await.is_err() {
                break;
            }
        }
        held.push(wire);
    }
    arena.is_served().await;
    let taken = arena.daemon.resident_kib().saturating_sub(before);
    assert!(taken < 64 * 1024, "{taken} KiB");
    arena.survives(for_ever(held)).await;
}

/// How many connections: 10,000 in the long form of the tests, 500 otherwise.
fn many() -> usize {
    #[expect(clippy::disallowed_methods, reason = "scripts/test --long says so in the environment")]
    let long = std::env::var_os("HSMD_LONG").is_some();
    if long { 10_000 } else { 500 }
}

/// Room for descriptors: this process has an end of each connection.
fn make_room() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let needed = many() as u64 + 1000;
    assert!(most >= needed, "{needed} descriptors are needed: raise `ulimit -Hn`");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
}

/// Opens all of them, some handshakes at a time, while others are served, and hands over those that
/// were let in: how many.
async fn open_many(arena: &Arena, mut hold: impl FnMut(Wire)) -> usize {
    let hostile = arena.hostile();
    let (mut opening, mut held, mut closed) = (JoinSet::new(), 0, 0);
    for number in 0..many() {
        let hostile = hostile.clone();
        opening.spawn(async move { hostile.greeted().await.ok() });
        while opening.len() >= 32 || (number + 1 == many() && !opening.is_empty()) {
            match opening.join_next().await.unwrap().unwrap() {
                Some(wire) => {
                    hold(wire);
                    held += 1;
                }
                None => closed += 1,
            }
        }
        if number % (many() / 5) == 0 {
            arena.is_served().await;
        }
    }
    assert_eq!(held + closed, many());
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_connections_beyond_the_limit_leave_room_for_others() {
    make_room();
    let arena = Arena::with(|hsmd| hsmd.set("limits.connections_per_caller", 200)).await;
    let mut held = Vec::new();
    assert_eq!(open_many(&arena, |wire| held.push(wire)).await, 200, "so many are one caller's");
    let hostile = arena.hostile();
    // Its own next connection is closed at once, until it gives one back.
    hostile.refused().await;
    drop(held.pop());
    let again = until("a place", async || hostile.greeted().await.ok()).await;
    let mut alive: Vec<_> = held.into_iter().chain([again]).collect();
    let mut first = alive.remove(0);
    tokio::select! {
        () = answer_pings(&mut first) => panic!("an idle connection is closed"),
        () = arena.is_served() => {}
    }
    alive.push(first);
    arena.survives(for_ever(alive)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_connections_within_the_limit_are_held_while_others_are_served() {
    make_room();
    let most = i64::try_from(many() + 100).unwrap();
    let roomy = |hsmd: hsmd_tests::Hsmd| {
        hsmd.set("limits.connections_per_caller", most).set("limits.connections", most)
    };
    let arena = Arena::with(roomy).await;
    let mut held = JoinSet::new();
    let alive = |mut wire| drop(held.spawn(async move { answer_pings(&mut wire).await }));
    assert_eq!(open_many(&arena, alive).await, many(), "every one of them was let in");
    let descriptors = format!("/proc/{}/fd", arena.daemon.pid());
    let open = std::fs::read_dir(descriptors).unwrap().count();
    assert!(open > many(), "{open} descriptors of the daemon");
    arena.survives(for_ever(held)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_floods_the_service_socket_keeps_nobody_out_of_the_other_listeners() {
    // Each listener counts for itself: this one is full.
    let full = |hsmd: hsmd_tests::Hsmd| {
        hsmd.set("limits.connections_per_caller", 50).set("limits.connections", 50)
    };
    let arena = Arena::with(full).await;
    let path = arena.hsmd.path("service.sock");
    let mut held = Vec::new();
    for _ in 0..500 {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        // What is closed at once may say so while it is written to.
        drop(stream.write_all(PREFACE).await);
        held.push(stream);
    }
    // The same user: known by other means it is served, and so is the admin listener.
    arena.good.sign(DOCUMENT).await.unwrap();
    let new = arena.tls.dial(&["good.example.org"]).remote(&arena.hsmd).rpc;
    new.sign(DOCUMENT).await.expect("a new connection");
    arena.daemon.status().await.unwrap();
    arena.hsmd.rpc().sign(DOCUMENT).await.expect_err("no place for the user who has them all");
    drop(held);
    until("places again", async || arena.hsmd.rpc().sign(DOCUMENT).await.ok()).await;
    arena.survives(for_ever(())).await;
}
