//! docs/errors.md is complete and true: its reasons are those of the sources, and its examples are
//! what a caller sees.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hsmd_proto::v1;
use hsmd_tests::{Database, Hsmd, Refusal, until};
use tonic::{Code, Request};

use crate::operation::{DOCUMENT, HOUR, Tls, head, service_key, with_callers};

const DOCUMENTED: &str = include_str!("../../../../docs/errors.md");

const LIMITED: &str = r#"
    [[caller]]
    name = "limited"
    san = "limited.example.org"
    endorse = ["access"]
    max_ttl = "1h"
    rate = { per_second = 1, burst = 2 }
    [[caller]]
    name = "other"
    san = "other.example.org"
"#;

/// The race that shows the first to a caller is its own library's to lose; nothing known provokes the
/// second. One text, so that they do not count as tested here.
const UNTESTED: &str = "EXPIRED_IN_QUEUE INTERNAL";

/// Code and example of every documented reason.
fn documented() -> BTreeMap<&'static str, (&'static str, &'static str)> {
    let rows = DOCUMENTED.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.map(|row| {
        let (reason, rest) = row.split_once("` | ").unwrap();
        let (code, rest) = rest.split_once(" | ").unwrap();
        (reason, (code, rest.split_once(" | ").unwrap().0))
    });
    let rows: Vec<_> = rows.collect();
    let table: BTreeMap<_, _> = rows.iter().copied().collect();
    assert_eq!(table.len(), rows.len(), "a reason is documented twice");
    table
}

/// The code's name in the documentation.
fn name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

/// Whether a message is the example, in which `…` stands for anything.
fn is_example(message: &str, example: &str) -> bool {
    let (first, rest) = example.split_once('…').unwrap_or((example, ""));
    let Some(mut message) = message.strip_prefix(first) else { return false };
    if !example.contains('…') {
        return message.is_empty();
    }
    let mut pieces = rest.split('…').peekable();
    while let Some(piece) = pieces.next() {
        let found = if pieces.peek().is_none() {
            message.ends_with(piece).then_some(message.len())
        } else {
            message.find(piece).map(|at| at + piece.len())
        };
        let Some(end) = found else { return false };
        message = &message[end..];
    }
    true
}

/// The text of every source file in a folder.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            text += &std::fs::read_to_string(path).unwrap();
        }
    }
    text
}

/// The literals that have the form of a reason.
fn reasons(source: &str) -> BTreeSet<&str> {
    let is_reason = |text: &str| {
        text.len() > 6
            && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
            && !text.starts_with("CARGO_")
    };
    source.split('"').filter(|text| is_reason(text)).collect()
}

#[test]
fn every_reason_of_the_sources_is_documented_and_tested() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let grpc = sources(&root.join("hsmd/src/grpc"));
    let documented: BTreeSet<_> = documented().into_keys().collect();
    assert_eq!(reasons(&grpc), documented);

    let tests = sources(&root.join("tests/tests/e2e/operation"));
    let tested = reasons(&tests);
    let untested: Vec<_> = documented.difference(&tested).copied().collect();
    assert_eq!(untested, UNTESTED.split(' ').collect::<Vec<_>>());
}

#[test]
fn examples_have_gaps() {
    assert!(is_example("a 1 b 2 c", "a … b … c") && is_example("a", "a") && is_example("ab", "a…"));
    assert!(is_example("anything", "…") && is_example("x is y", "… is …"));
    for (message, example) in [("ab", "a"), ("a 1 b", "a … c"), ("b", "a…"), ("ab", "…a")] {
        assert!(!is_example(message, example), "{message} {example}");
    }
}

#[track_caller]
pub(crate) fn assert_documented<T>(reason: &str, result: Result<T, Refusal>) {
    let refusal = result.err().unwrap_or_else(|| panic!("not refused: {reason}"));
    let (code, example) = documented()[reason];
    assert_eq!((refusal.reason.as_str(), &*name(refusal.code)), (reason, code), "{refusal:?}");
    let message = refusal.message.strip_prefix("item 0: ").unwrap_or(&refusal.message);
    assert!(is_example(message, example), "{reason}: {message:?} is not {example:?}");
}

#[tokio::test]
async fn what_the_caller_did_is_refused_as_documented() {
    use assert_documented as refused;
    let (hsmd, tls) = Tls::of(with_callers(Hsmd::initialised().await, LIMITED));
    let may: Vec<toml::Value> = vec!["status".into(), "taint".into()];
    let hsmd = hsmd.set("admin.0.allow", may);
    let daemon = hsmd.serve().await;
    let key = service_key();
    refused("MALFORMED_PAYLOAD", daemon.sign(r#"{"purpose"}"#).await);
    refused("PAYLOAD_TOO_LARGE", daemon.sign(&"a".repeat(65_537)).await);
    refused("BATCH_TOO_LARGE", daemon.sign_batch(&vec![DOCUMENT.to_owned(); 257]).await);
    refused("MALFORMED_PUBLIC_KEY", daemon.endorse("access", "1AAI", HOUR).await);
    let short = std::time::Duration::from_millis(999);
    refused("MALFORMED_TTL", daemon.endorse("access", &key, short).await);
    refused("MALFORMED_PURPOSE", daemon.endorse("Access", &key, HOUR).await);
    refused("PURPOSE_RESERVED", daemon.endorse("health", &key, HOUR).await);
    refused("PURPOSE_WRONG_KIND", daemon.sign(r#"{"purpose":"access"}"#).await);
    refused("MALFORMED_GENERATION_ID", daemon.taint("").await);
    let zero = daemon.head().await.event().id().to_string();
    let unsaid = v1::TaintRequest { expected_generation_id: zero.clone(), reason: String::new() };
    let unsaid = daemon.admin.clone().taint(unsaid).await.map_err(Refusal::from);
    refused("MALFORMED_REASON", unsaid);

    let stranger = tls.dial(&["stranger.example.org"]).remote(&hsmd).rpc;
    refused("CALLER_UNKNOWN", head(&stranger).await);
    let both = tls.dial(&["limited.example.org", "other.example.org"]).remote(&hsmd).rpc;
    refused("CALLER_AMBIGUOUS", head(&both).await);
    let limited = tls.dial(&["limited.example.org"]).remote(&hsmd).rpc;
    refused("PURPOSE_NOT_ALLOWED", limited.endorse("response", &key, HOUR).await);
    refused("TTL_TOO_LONG", limited.endorse("access", &key, 2 * HOUR).await);
    refused("READ_NOT_ALLOWED", head(&limited).await);
    refused("ACTION_NOT_ALLOWED", daemon.rotate(&zero).await);
    let rated =
        until("the bucket is empty", async || limited.endorse("access", &key, HOUR).await.err())
            .await;
    refused::<()>("RATE_LIMITED", Err(rated));

    daemon.taint_head().await;
    let unknown = service_key().parse::<hsmd_chain::PublicKey>().unwrap().digest().to_string();
    refused("UNKNOWN_GENERATION", daemon.taint(&unknown).await);
    let beyond = v1::ListEventsRequest { from_sequence: 9, page_size: 0 };
    let beyond = daemon.key_log.clone().list_events(beyond).await.map_err(Refusal::from);
    refused("BEYOND_HEAD", beyond);

    // The transport's own.
    assert_eq!(limited.status().await.unwrap_err().code, Code::Unimplemented);
    let large = daemon.sign(&"a".repeat(5 << 20)).await.unwrap_err();
    assert_eq!((large.code, large.reason.as_str()), (Code::OutOfRange, ""));
    let mut giant = Request::new(v1::GetHeadRequest {});
    giant.metadata_mut().insert("x-giant", "a".repeat(20_000).parse().unwrap());
    let giant = daemon.key_log.clone().get_head(giant).await.unwrap_err();
    assert!(giant.message().contains("431"), "{giant:?}");
    assert!(DOCUMENTED.contains("| headers of more than 16 KiB | HTTP status 431, "));
    assert!(DOCUMENTED.contains("where there are no documents) | OUT_OF_RANGE |"));
}

#[tokio::test]
async fn what_the_daemon_lacks_is_said_as_documented() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    let twin = hsmd.twin().set("standby", true);
    let standby = twin.launch(&[]);
    let refused = until("the other one stands by", async || {
        let refusal = standby.sign(DOCUMENT).await.err()?;
        (!["", "STARTING"].contains(&&*refusal.reason)).then_some(refusal)
    });
    let refused = refused.await;
    assert_documented::<()>("STANDBY", Err(refused));
    standby.stop().await;

    let zero = daemon.head().await.event().id().to_string();
    daemon.rotate_head().await;
    assert_documented("NOT_HEAD", daemon.taint(&zero).await);
    let unplugged = hsmd.token.unplug();
    until("the token is gone", async || (!daemon.is_serving("").await).then_some(())).await;
    assert_documented("TOKEN_UNAVAILABLE", daemon.sign(DOCUMENT).await);
    unplugged.plug_in();

    let request = v1::WatchEventsRequest { from_sequence: 0 };
    let mut watch = daemon.key_log.clone().watch_events(request).await.unwrap().into_inner();
    daemon.stop().await;
    let end = loop {
        match watch.message().await {
            Ok(message) => drop(message.expect("a watch ends with a reason")),
            Err(status) => break Refusal::from(status),
        }
    };
    assert_documented::<()>("STOPPING", Err(end));

    hsmd.write_pin("13579-wrong");
    let daemon = hsmd.launch(&[]);
    daemon.problem("PIN").await;
    assert_documented("STARTING", daemon.sign(DOCUMENT).await);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_without_its_database_refuses_as_documented() {
    let hsmd = Hsmd::fresh().await.with_database(Database::create_alone().await);
    hsmd.migrate().await;
    hsmd.init().await;
    let hsmd = hsmd.set("standby", true).set("lock_grace", "2s");
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await.event().id().to_string();
    hsmd.database.stop_server();
    daemon.problem("database").await;
    assert_documented("DATABASE_UNAVAILABLE", daemon.rotate(&zero).await);
    let lost = until("the grace is over", async || daemon.sign(DOCUMENT).await.err()).await;
    assert_documented::<()>("LOCK_LOST", Err(lost));
    hsmd.database.start_server();
    until("it signs again", async || daemon.sign(DOCUMENT).await.ok()).await;
    assert_eq!(hsmd.history().await.events().len(), 1);
}

#[tokio::test]
async fn what_a_rotation_lacks_is_said_as_documented() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await.event().id().to_string();
    // The disk of the journal is gone.
    let away = hsmd.path("away");
    std::fs::rename(hsmd.state_dir(), &away).unwrap();
    assert_documented("JOURNAL_UNAVAILABLE", daemon.rotate(&zero).await);
    let said = hsmd.hsmctl(&["rotate", "--reason", "why not"]).await;
    assert!(!said.stderr.contains("may have been done"), "{}", said.stderr);
    said.ended(69, "nothing has changed");
    std::fs::rename(away, hsmd.state_dir()).unwrap();
    daemon.stop().await;

    let ahead = Hsmd::initialised().await.env("LD_PRELOAD", faketime()).env("FAKETIME", "+3600");
    let ahead = ahead.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
    let daemon = ahead.serve().await;
    let its_zero = daemon.head().await.event().id().to_string();
    assert_documented("CLOCK_SUSPECT", daemon.rotate(&its_zero).await);
    daemon.stop().await;

    hsmd.token.destroy(1);
    let daemon = hsmd.serve().await;
    assert_documented("NEXT_KEY_MISSING", daemon.rotate(&zero).await);
    daemon.sign(DOCUMENT).await.expect("it still signs");
}

/// Debian's libfaketime, in the folder of this machine's architecture.
fn faketime() -> std::path::PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap();
    let mut libraries =
        folders.map(|entry| entry.unwrap().path().join("faketime/libfaketimeMT.so.1"));
    libraries.find(|path| path.exists()).expect("the Debian package libfaketime")
}

#[tokio::test]
async fn waiting_is_ended_as_documented() {
    tokio::join!(a_queue_is_full(), a_taint_is_in_progress());
}

async fn a_queue_is_full() {
    let (hsmd, faults) = Hsmd::initialised().await.with_faults();
    let hsmd = hsmd.set("token.0.queue_length", 1);
    let daemon = hsmd.serve().await;
    faults.hang("C_Sign".parse().unwrap(), hsmd_fault::Times::always()).unwrap();
    let mut calls = tokio::task::JoinSet::new();
    // At most one in the token, where the daemon's own may be, and one in the queue.
    for _ in 0..3 {
        let rpc = hsmd.rpc();
        calls.spawn(async move { rpc.sign(DOCUMENT).await });
    }
    let first = calls.join_next().await.unwrap().unwrap();
    assert_documented("QUEUE_FULL", first);
    faults.release().unwrap();
    let others = calls.join_all().await;
    assert!(others.iter().any(|signed| signed.is_ok()), "a signature for who waited: {others:?}");
    daemon.stop().await;
}

/// The taint takes much longer than a call waits for it.
async fn a_taint_is_in_progress() {
    let hsmd = Hsmd::initialised().await;
    let mut daemon = hsmd.launch_until("rotation::journaled=1*sleep(8000)");
    daemon.ready().await;
    let (rpc, zero) = (hsmd.rpc(), daemon.head().await.event().id().to_string());
    let taint = tokio::spawn(async move { rpc.taint(&zero).await });
    let refused = until("a taint is in progress", async || daemon.sign(DOCUMENT).await.err());
    assert_documented::<()>("TAINT_IN_PROGRESS", Err(refused.await));
    // Whether or not it was told in time, the taint is made.
    drop(taint.await.unwrap());
    until("the next generation signs", async || daemon.sign(DOCUMENT).await.ok()).await;
    assert!(hsmd.history().await.events()[1].event().taint_previous());
}
