//! Everything that asks a daemon.

use std::io::Write;
use std::process::Stdio;

use hsmd_chain::testing::{LogBuilder, SoftwareKey};
use hsmd_chain::{KeyLog, SignedBody, SignedEvent};
use hsmd_tests::now;
use hsmd_tests::peer::{Peer, error};
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tonic::Code;

use crate::{Done, hsmctl, write};

/// Runs `hsmctl` against the peer, which lives on this runtime.
async fn run(peer: &Peer, arguments: &[&str]) -> Done {
    let mut command = tokio::process::Command::from(hsmctl());
    command
        .args(arguments)
        .envs([("HSMD_ENDPOINT", peer.endpoint()), ("HSMD_ADMIN_ENDPOINT", peer.endpoint())]);
    command.output().await.expect("runs").into()
}

#[tokio::test]
async fn status_in_both_forms() {
    let peer = Peer::start(LogBuilder::of_length("status", 2));
    let text = run(&peer, &["status"]).await.expect(0).out;
    let id = peer.state.log.borrow().id(1);
    assert!(text.contains("serving") && text.contains(id.as_str()), "{text}");
    let json = run(&peer, &["status", "--output", "json"]).await.expect(0).out;
    let value: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(value["state"], "serving");
    assert_eq!(value["head"]["id"], id.as_str());
}

#[tokio::test]
async fn identity_and_log_are_verified() {
    let peer = Peer::start(LogBuilder::of_length("log", 4).taint());
    let log = peer.state.log.borrow().clone();
    let identity = run(&peer, &["identity"]).await.expect(0).out;
    assert_eq!(identity, format!("{}\n", log.identity()));
    let json = run(&peer, &["log", "--json"]).await.expect(0).out;
    assert_eq!(json, log.to_json());
    KeyLog::verify_json(json.as_bytes(), &log.anchor(), now(), Duration::ZERO).expect("published");
    let text = run(&peer, &["log", "--window", "100000h"]).await.expect(0).out;
    let marks: Vec<_> = text.lines().skip(2).filter_map(|line| line.split("Z  ").last()).collect();
    assert_eq!(marks.len(), 5);
    assert!(marks[..3].iter().all(|mark| mark.starts_with("live until")), "{marks:?}");
    assert_eq!(marks[3..], ["TAINTED", "head"]);

    let anchor = log.log().anchor().to_string();
    run(&peer, &["identity", "--identity", &anchor]).await.expect(0);
    let other = LogBuilder::new("other").identity().to_string();
    for command in ["identity", "log"] {
        let done = run(&peer, &[command, "--identity", &other]).await.expect(2);
        assert!(done.out.is_empty() && done.err.contains("does not verify"), "{}", done.err);
    }
    let ahead = log.clone().rotate().log().anchor().to_string();
    run(&peer, &["log", "--identity", &ahead]).await.expect(2);
}

#[tokio::test]
async fn endorses_and_signs_what_verifies() {
    let peer = Peer::start(LogBuilder::of_length("sign", 2));
    let log = peer.state.log.borrow().log();
    let key = SoftwareKey::from_seed("service");
    let arguments = [
        "endorse",
        "--purpose",
        "access",
        "--ttl",
        "12h",
        "--public-key",
        key.public_key().as_str(),
    ];
    let endorsed = run(&peer, &arguments).await.expect(0).out;
    SignedBody::parse(&endorsed)
        .expect("published form")
        .verify_endorsement(&log, "access", key.public_key(), now(), Duration::ZERO)
        .expect("good");

    let folder = tempfile::tempdir().expect("a folder");
    let document = r#"{"purpose":"document","text":"ä"}"#;
    let file = write(folder.path(), "document.json", &format!("{document}\n"));
    let signed = run(&peer, &["sign", &file]).await.expect(0).out;
    let signed = SignedBody::parse(&signed).expect("published form");
    assert_eq!(signed.payload(), document);
    signed.verify(&log, now(), Duration::ZERO).expect("good");

    for bad in [r#"{"purpose": "document"}"#, r#"{"a":1,"a":2}"#, "[]", "", "{}\n\n"] {
        let file = write(folder.path(), "bad.json", bad);
        let done = run(&peer, &["sign", &file]).await.expect(1);
        assert!(done.out.is_empty() && done.err.contains("bad.json"), "{}", done.err);
        assert!(!done.err.contains("jq"), "which changes numbers: {}", done.err);
    }
}

/// `hsmctl status | true`, `hsmctl log --follow | head`.
#[tokio::test]
async fn a_reader_that_is_gone_changes_no_answer_and_ends_a_follower() {
    let peer = Peer::start(LogBuilder::of_length("gone", 2));
    for arguments in [&["status"][..], &["status", "--output", "json"], &["log", "--follow"]] {
        let mut command = tokio::process::Command::from(hsmctl());
        command.args(arguments).kill_on_drop(true);
        command.env("HSMD_ENDPOINT", peer.endpoint()).env("HSMD_ADMIN_ENDPOINT", peer.endpoint());
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut child = command.stdout(writer).spawn().expect("runs");
        // The command keeps an end of its own, which goes with it.
        drop(command);
        drop(reader);
        let ended = tokio::time::timeout(Duration::from_secs(60), child.wait()).await;
        let code = ended.expect("in time").expect("ends").code();
        // A follower may meet the gone reader with its first line or without one.
        let expected = if arguments[0] == "status" { &[0][..] } else { &[0, 1] };
        assert!(code.is_some_and(|code| expected.contains(&code)), "{arguments:?}: {code:?}");
    }
}

#[tokio::test]
async fn signs_standard_input() {
    let peer = Peer::start(LogBuilder::new("stdin"));
    let mut command = hsmctl();
    command.args(["sign", "-", "--endpoint", &peer.endpoint()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let signed = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().expect("runs");
        let mut input = child.stdin.take().expect("piped");
        input.write_all(br#"{"purpose":"document"}"#).expect("written");
        drop(input);
        child.wait_with_output().expect("ends")
    });
    let signed = signed.await.expect("ends").stdout;
    assert_eq!(SignedBody::parse(signed).expect("signed").payload(), r#"{"purpose":"document"}"#);
}

#[tokio::test]
async fn rotates_and_taints_and_says_whether_it_was_now() {
    let peer = Peer::start(LogBuilder::new("change"));
    let head = || peer.state.log.borrow().head().event().id().to_string();
    let first = head();
    let text = run(&peer, &["rotate", "--reason", "monthly"]).await.expect(0).out;
    assert!(text.contains("rotated now") && text.contains(&first) && text.contains(&head()));

    let second = head();
    let taint = ["taint", "--reason", "stolen", "--expected", &second];
    let text = run(&peer, &taint).await.expect(0).out;
    assert!(text.contains("tainted now") && text.contains("TAINTED"), "{text}");
    let text = run(&peer, &taint).await.expect(0).out;
    assert!(text.contains("tainted before, nothing was done now"), "{text}");
    assert_eq!(peer.state.log.borrow().events().len(), 3);

    let json = run(&peer, &[&taint[..], &["--output", "json"]].concat()).await.expect(0).out;
    let value: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(value["performed"], false);
    assert_eq!(value["replacedGenerationId"], second);
    assert_eq!(value["event"]["taintPrevious"], true);

    let unknown = hsmd_chain::Digest::of(b"unknown").to_string();
    let done = run(&peer, &["rotate", "--reason", "x", "--expected", &unknown]).await.expect(1);
    assert!(done.err.contains("NOT_HEAD"), "{}", done.err);
}

#[tokio::test]
async fn refusals_are_1_and_absence_is_69() {
    let mut peer = Peer::start(LogBuilder::new("errors"));
    let key = SoftwareKey::from_seed("service");
    let endorse = [
        "endorse",
        "--purpose",
        "access",
        "--ttl",
        "99h",
        "--public-key",
        key.public_key().as_str(),
    ];
    let cases = [
        (Code::PermissionDenied, "TTL_TOO_LONG", 1, "max_ttl"),
        (Code::Unavailable, "STARTING", 69, "hsmctl status"),
        (Code::ResourceExhausted, "QUEUE_FULL", 1, "try again"),
    ];
    for (code, reason, exit, advice) in cases {
        peer.state.endorse_errors.lock().push_back(error(code, reason));
        let done = run(&peer, &endorse).await.expect(exit);
        assert!(done.err.contains(reason) && done.err.contains(advice), "{}", done.err);
        assert_eq!(done.out, "");
    }
    peer.stop().await;
    for arguments in [
        &["status"][..],
        &["log"],
        &["log", "--follow", "--timeout", "1s"],
        &["identity"],
        &endorse,
    ] {
        let done = run(&peer, arguments).await.expect(69);
        assert!(done.err.contains(&peer.endpoint()), "{}", done.err);
    }
}

#[tokio::test]
async fn follow_prints_each_event_once_as_it_comes() {
    let mut peer = Peer::start(LogBuilder::of_length("follow", 2));
    let mut command = tokio::process::Command::from(hsmctl());
    command.args(["log", "--follow", "--json", "--endpoint", &peer.endpoint()]);
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut next = async |peer: &Peer, number: usize| {
        let line = lines.next_line();
        let line = tokio::time::timeout(Duration::from_secs(20), line).await.expect("in time");
        let line = line.expect("reads").expect("a line");
        let expected: SignedEvent = peer.state.log.borrow().events()[number].clone();
        assert_eq!(line, expected.to_json());
    };
    next(&peer, 0).await;
    next(&peer, 1).await;
    peer.state.append(true);
    next(&peer, 2).await;
    peer.stop().await;
    peer.state.append(false);
    peer.resume();
    next(&peer, 3).await;

    // A fork ends it.
    let theirs = peer.state.log.borrow().stolen_at(3, "thief").append(now(), false);
    peer.stop().await;
    peer.state.log.send_replace(theirs);
    peer.resume();
    let ended = tokio::time::timeout(Duration::from_secs(20), child.wait()).await;
    assert_eq!(ended.expect("in time").expect("ends").code(), Some(2));
}

#[tokio::test]
async fn follow_says_when_silence_means_nothing() {
    let mut peer = Peer::start(LogBuilder::new("silence"));
    let mut command = tokio::process::Command::from(hsmctl());
    command.args(["log", "--follow", "--max-staleness", "500ms", "--endpoint", &peer.endpoint()]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("runs");
    let mut events = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut warnings = BufReader::new(child.stderr.take().expect("piped")).lines();
    let patience = Duration::from_secs(20);
    let first = tokio::time::timeout(patience, events.next_line()).await.expect("in time");
    assert!(first.expect("reads").is_some());
    let mut warned = async |expected: &str| {
        let line = tokio::time::timeout(patience, warnings.next_line()).await.expect("in time");
        let line = line.expect("reads").expect("a line");
        assert!(line.contains(expected), "{line}");
    };
    peer.stop().await;
    warned("the key log is stale").await;
    peer.resume();
    warned("followed again").await;
}
