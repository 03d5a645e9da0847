//! Log lines and audit records as systemd's journal and logrotate meet them, and how many of them unknown peers
//! can cause.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hsmd_proto::v1;
use hsmd_tests::{Daemon, Hsmd, until};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Request;

use crate::operation::http::get;
use crate::operation::remote::Dial;
use crate::operation::{HOUR, Tls, hang_up, head, service_key};

/// As systemd sets it: the stream is the journal.
#[tokio::test]
async fn lines_for_the_journal_begin_with_their_priority() {
    let hsmd = Hsmd::initialised().await;
    let log = std::fs::File::create(hsmd.path("log")).unwrap().metadata().unwrap();
    let hsmd = hsmd.env("JOURNAL_STREAM", format!("{}:{}", log.dev(), log.ino()));
    let daemon = hsmd.serve().await;
    daemon.endorse("response", &service_key(), HOUR).await.unwrap_err();
    daemon.stop().await;
    let text = std::fs::read_to_string(hsmd.path("log")).unwrap();
    let lines: Vec<_> = text.lines().map(|line| line.split_at_checked(3).expect(line)).collect();
    let of = |priority| lines.iter().filter(move |line| line.0 == priority).map(|line| line.1);
    assert!(lines.iter().all(|line| ["<4>", "<5>", "<6>"].contains(&line.0)), "{text}");
    assert!(of("<4>").any(|line| line.contains("call refused")), "{text}");
    assert!(of("<6>").any(|line| line.contains("listening")), "{text}");
    // Records are told from log lines by their priority, and by their member `log`.
    let records: Vec<Value> = of("<5>").map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(records.iter().any(|record| record["method"] == "Endorse"), "{text}");
    assert!(records.iter().all(|record| record["log"] == "audit"), "{text}");
    assert!(lines.iter().all(|line| line.0 == "<5>" || !line.1.starts_with('{')), "{text}");
}

/// The address behind a word of the log.
async fn logged(daemon: &Daemon, word: &str) -> SocketAddr {
    until(word, async || {
        let log = daemon.log_text();
        let (_, rest) = log.split_once(word)?;
        let end = rest.find(|c: char| c == '"' || c.is_whitespace())?;
        rest[..end].parse().ok()
    })
    .await
}

#[tokio::test]
async fn addresses_are_logged_with_the_port_that_the_system_chose() {
    let (hsmd, tls) = Tls::of(Hsmd::initialised().await);
    let any = "127.0.0.1:0";
    let hsmd = hsmd.set("listen.tls.address", any).set("observe.address", any);
    let daemon = hsmd.serve().await;
    let service = logged(&daemon, "tls=\"").await;
    let observe = logged(&daemon, "metrics and health over HTTP address=").await;
    assert_eq!(get(observe, "/live").await.0, 200);
    let config = tls.servers.client(Some(&tls.clients.issue(&["stranger.example.org"])));
    Dial::tls(service, config).greeted().await.expect("the TLS listener");
}

fn called(id: &str) -> Request<v1::SignRequest> {
    let mut request = Request::new(v1::SignRequest { payload: "{".into(), ..Default::default() });
    request.metadata_mut().insert("x-request-id", id.parse().unwrap());
    request
}

/// As logrotate does it: the next record is in the new file, and not first the one after the next look.
#[tokio::test]
async fn a_file_moved_by_logrotate_is_opened_again_on_sighup() {
    let hsmd = Hsmd::initialised().await;
    let hsmd = hsmd.set("audit.sink", "file").set("audit.file", "@/audit.jsonl");
    let daemon = hsmd.serve().await;
    let file = hsmd.path("audit.jsonl");
    for number in 0..5 {
        let (moved, id) = (hsmd.path(&format!("audit.jsonl-{number}")), format!("call-{number}"));
        std::fs::rename(&file, &moved).unwrap();
        hang_up(&daemon, "the policy is reloaded").await;
        daemon.signer.clone().sign(called(&id)).await.unwrap_err();
        let holds = |file: &Path| std::fs::read_to_string(file).is_ok_and(|it| it.contains(&id));
        until("the record", async || (holds(&file) || holds(&moved)).then_some(())).await;
        assert!(holds(&file) && !holds(&moved), "{id} is in the file that was moved");
    }
}

/// A file has room for some thirty records here, and there is one older one.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refusals_displaces_no_taints_record() {
    let (hsmd, tls) = Tls::of(Hsmd::initialised().await);
    let hsmd = hsmd.set("audit.sink", "file").set("audit.file", "@/audit.jsonl");
    let hsmd = hsmd.set("audit.max_bytes", 8000).set("audit.keep", 1);
    let daemon = hsmd.serve().await;
    daemon.taint_head().await;
    let unknown = tls.dial(&["stranger.example.org"]).remote(&hsmd).rpc;
    for _ in 0..2000 {
        head(&unknown).await.unwrap_err();
    }
    daemon.stop().await;
    let files = ["audit.jsonl", "audit.jsonl.1"].map(|name| hsmd.path(name));
    let text: String =
        files.iter().map(|file| std::fs::read_to_string(file).unwrap_or_default()).collect();
    let records: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(records.iter().any(|record| record["method"] == "Taint"), "{text}");
    let summary = records.iter().find(|it| it["method"] == "GetHead" && it["count"].is_u64());
    assert_eq!(summary.expect("a summary")["peer"], "unknown peers", "{text}");
    let log = std::fs::read_to_string(hsmd.path("log")).unwrap();
    let lines = log.lines().filter(|line| line.contains("CALLER_UNKNOWN")).count();
    assert!((1..20).contains(&lines), "the first of a minute in full, and then a count: {lines}");
}

#[tokio::test]
async fn a_flood_of_failed_handshakes_does_not_fill_the_log() {
    let (hsmd, tls) = Tls::of(Hsmd::initialised().await);
    let daemon = hsmd.serve().await;
    for _ in 0..200 {
        let mut stream = TcpStream::connect(tls.address).await.unwrap();
        // It answers with an alert, or has closed by then.
        drop(stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await);
        drop(stream.read_to_end(&mut Vec::new()).await);
    }
    let lines = daemon.log_text().matches("TLS handshake failed").count();
    assert!((1..100).contains(&lines), "ten of a minute in full, and then a count: {lines}");
}
