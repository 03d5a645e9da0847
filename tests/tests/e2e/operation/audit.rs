//! Records: of every refused call, every endorsement and every admin action; and what is never in one.

use std::time::Duration;

use hsmd_proto::v1;
use hsmd_tests::{Hsmd, Rpc, program, until};
use serde_json::Value;
use tokio::process::Command;
use tonic::{Code, Request};

use crate::operation::{DOCUMENT, HOUR, Tls, observe, service_key, with_callers};

const READER: &str = r#"
    [[caller]]
    name = "reader"
    san = "reader.example.org"
    read_log = true
"#;

pub(super) fn with_records(hsmd: Hsmd) -> Hsmd {
    hsmd.set("audit.sink", "file").set("audit.file", "@/audit.jsonl")
}

pub(super) fn records(hsmd: &Hsmd) -> Vec<Value> {
    let text = std::fs::read_to_string(hsmd.path("audit.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).expect(line))
        // The harness's own observer tries to follow the log while the daemon starts.
        .filter(|record| record["method"] != "WatchEvents")
        .collect()
}

/// The one record of a call, by its id.
async fn record(hsmd: &Hsmd, id: &str) -> Value {
    let mut found = until(&format!("the record of {id}"), async || {
        let found: Vec<_> = records(hsmd).into_iter().filter(|r| r["request_id"] == id).collect();
        (!found.is_empty()).then_some(found)
    })
    .await;
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// A request with an id of its own.
pub(super) fn called<T>(message: T, id: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-request-id", id.parse().unwrap());
    request
}

pub(super) fn text(record: &Value, member: &str) -> String {
    record[member].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn every_refusal_endorsement_and_admin_action_is_recorded() {
    let (hsmd, tls) = Tls::of(with_callers(Hsmd::initialised().await, READER));
    let hsmd = with_records(hsmd);
    let daemon = hsmd.serve().await;
    let generation = daemon.head().await.event().id().to_string();
    let endorse = |purpose: &str| v1::EndorseRequest {
        purpose: purpose.into(),
        public_key: service_key(),
        ttl: Some(HOUR.try_into().unwrap()),
        ..Default::default()
    };
    let sign = |payload: &str| v1::SignRequest {
        payload: payload.to_owned().into_bytes().into(),
        ..Default::default()
    };
    let (mut own, mut admin) = (daemon.signer.clone(), daemon.admin.clone());

    let answer = own.endorse(called(endorse("access"), "endorsed")).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), "endorsed");
    let refused = own.endorse(called(endorse("health"), "reserved")).await.unwrap_err();
    assert_eq!(refused.metadata().get("x-request-id").unwrap(), "reserved");
    own.sign(called(sign(r#"{"purpose":"access"}"#), "wrong-kind")).await.unwrap_err();
    own.sign(called(sign("{"), "malformed")).await.unwrap_err();

    let reader = tls.dial(&["reader.example.org"]).remote(&hsmd).rpc;
    reader.signer.clone().sign(called(sign(DOCUMENT), "not-allowed")).await.unwrap_err();
    let stranger: Rpc = tls.dial(&["stranger.example.org"]).remote(&hsmd).rpc;
    let get_head = |id| called(v1::GetHeadRequest {}, id);
    stranger.key_log.clone().get_head(get_head("stranger")).await.unwrap_err();
    reader.admin.clone().status(called(v1::StatusRequest {}, "no-admin-here")).await.unwrap_err();
    let large = sign(&"a".repeat(5 << 20));
    own.sign(called(large, "too-large")).await.unwrap_err();

    let action = v1::RotateRequest {
        expected_generation_id: generation.clone(),
        reason: "a test rotates".into(),
    };
    let answer = admin.rotate(called(action.clone(), "rotated")).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), "rotated");
    let next = daemon.head().await.event().id().to_string();
    admin.rotate(called(action, "rotated-again")).await.unwrap();
    let taint = v1::TaintRequest { expected_generation_id: generation.clone(), reason: "x".into() };
    admin.taint(called(taint, "not-head")).await.unwrap_err();
    let taint = v1::TaintRequest { expected_generation_id: next.clone(), reason: "x".into() };
    admin.taint(called(taint, "tainted")).await.unwrap();
    let last = daemon.head().await.event().id().to_string();

    let certificate = "certificate reader.example.org";
    let own = format!("uid {}", nix::unistd::getuid());
    let own = own.as_str();
    // id, method, peer, caller, purpose, generation, outcome
    let expected = [
        ("endorsed", "Endorse", own, "tester", "access", generation.as_str(), "Ok"),
        ("reserved", "Endorse", own, "tester", "health", "", "InvalidArgument"),
        ("wrong-kind", "Sign", own, "tester", "access", "", "InvalidArgument"),
        ("malformed", "Sign", own, "tester", "", "", "InvalidArgument"),
        ("not-allowed", "Sign", certificate, "reader", "", "", "PermissionDenied"),
        ("stranger", "GetHead", "certificate stranger.example.org", "", "", "", "PermissionDenied"),
        ("no-admin-here", "Status", certificate, "reader", "", "", "Unimplemented"),
        ("too-large", "Sign", own, "tester", "", "", "OutOfRange"),
        ("rotated", "Rotate", own, "tester", "", next.as_str(), "Ok"),
        ("rotated-again", "Rotate", own, "tester", "", next.as_str(), "Ok"),
        ("not-head", "Taint", own, "tester", "", "", "FailedPrecondition"),
        ("tainted", "Taint", own, "tester", "", last.as_str(), "Ok"),
    ];
    for (id, method, peer, caller, purpose, generation, outcome) in expected {
        let record = record(&hsmd, id).await;
        let found = ["method", "peer", "caller", "purpose", "generation", "outcome"]
            .map(|member| text(&record, member));
        assert_eq!(found, [method, peer, caller, purpose, generation, outcome], "{id}: {record}");
        assert_eq!(record.get("message").is_none(), outcome == "Ok", "{record}");
        text(&record, "at").parse::<hsmd_chain::Timestamp>().unwrap();
    }
    assert_eq!(records(&hsmd).len(), expected.len(), "nothing else: {:?}", records(&hsmd));

    // The rotations that were made are in Postgres as well, under the same id.
    let actions = admin.list_actions(v1::ListActionsRequest::default()).await.unwrap().into_inner();
    let actions: Vec<_> = actions
        .records
        .iter()
        .map(|r| (r.action.as_str(), r.caller.as_str(), r.request_id.as_str(), r.sequence_number))
        .collect();
    assert_eq!(
        actions[1..],
        [("rotate", "tester", "rotated", 1), ("taint", "tester", "tainted", 2)]
    );
    assert_eq!(hsmd.history().await.events().len(), 3);

    // And an operator reads them there.
    let endpoint = format!("unix://{}", hsmd.path("admin.sock").display());
    let hsmctl = async |format| {
        let arguments = ["--admin-endpoint", &endpoint, "--output", format, "audit"];
        let output = Command::new(program("hsmctl")).args(arguments).output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let told = hsmctl("text").await;
    let lines: Vec<_> = told.lines().skip(1).collect();
    assert_eq!(lines.len(), 2, "{told}");
    assert!(lines[0].contains("rotate") && lines[0].ends_with("tester: a test rotates"), "{told}");
    assert!(lines[1].contains("taint") && lines[1].ends_with("tester: x"), "{told}");
    let told: Value = serde_json::from_str(&hsmctl("json").await).unwrap();
    let ids: Vec<_> = told.as_array().unwrap().iter().map(|r| text(r, "requestId")).collect();
    assert_eq!(ids[1..], ["rotated", "tainted"]);
}

#[tokio::test]
async fn an_admin_who_may_not_is_named() {
    let hsmd = with_records(Hsmd::initialised().await);
    let status_only = toml::Value::Array(vec!["status".into()]);
    let hsmd = hsmd.set("admin.0.allow", status_only);
    let daemon = hsmd.serve().await;
    let action = v1::TaintRequest { expected_generation_id: String::new(), reason: "x".into() };
    daemon.admin.clone().taint(called(action, "taint")).await.unwrap_err();
    let record = record(&hsmd, "taint").await;
    assert_eq!([text(&record, "caller"), text(&record, "method")], ["tester", "Taint"]);
    assert_eq!(text(&record, "outcome"), "PermissionDenied");
}

#[tokio::test]
async fn no_record_holds_a_piece_of_a_payload() {
    const SECRET: &str = "sensitive-words";
    let hsmd = with_records(with_callers(Hsmd::initialised().await, "")).set("log.filter", "trace");
    let daemon = hsmd.serve().await;
    let refused = [
        format!(r#"{{"purpose":"{SECRET} {SECRET}"}}"#),
        format!(r#"{{"purpose":["{SECRET}"]}}"#),
        format!(r#"{{"{SECRET}":1,"{SECRET}":2,"purpose":"document"}}"#),
        format!(r#"{{"purpose":"document","publicKey":"{SECRET}"}}"#),
        format!(r#"{{"purpose":"document","a":"{SECRET}"#),
        format!(r#"{{"purpose":"access","a":"{SECRET}"}}"#),
        SECRET.to_owned(),
    ];
    for payload in &refused {
        let refusal = daemon.sign(payload).await.unwrap_err();
        assert!(!refusal.message.contains(SECRET), "{refusal:?}");
        let batch = daemon.sign_batch(&[DOCUMENT.into(), payload.clone()]).await.unwrap_err();
        assert!(!batch.message.contains(SECRET), "{batch:?}");
    }
    let endorsed = daemon.endorse(&format!("{SECRET}!"), &service_key(), HOUR).await;
    endorsed.unwrap_err();
    daemon.endorse("access", SECRET, HOUR).await.unwrap_err();
    daemon.sign(&format!(r#"{{"purpose":"document","a":"{SECRET}"}}"#)).await.unwrap();
    let expected = 2 * refused.len() + 2;
    until("all records", async || (records(&hsmd).len() == expected).then_some(())).await;
    let text = std::fs::read_to_string(hsmd.path("audit.jsonl")).unwrap();
    assert!(!text.contains(SECRET), "{text}");
    let log = daemon.log_text();
    let told = log.lines().find(|line| line.contains(SECRET));
    assert_eq!(told, None, "the log tells, too");
}

#[tokio::test]
async fn a_call_without_a_fit_id_gets_one() {
    let hsmd = with_records(Hsmd::initialised().await);
    let daemon = hsmd.serve().await;
    let mut ids = std::collections::HashSet::new();
    for id in [None, Some("two words"), Some(&*"a".repeat(65))] {
        let mut request =
            Request::new(v1::SignRequest { payload: "{".into(), ..Default::default() });
        if let Some(id) = id {
            request.metadata_mut().insert("x-request-id", id.parse().unwrap());
        }
        let status = daemon.signer.clone().sign(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let ours = status.metadata().get("x-request-id").unwrap().to_str().unwrap().to_owned();
        record(&hsmd, &ours).await;
        assert!(ids.insert(ours));
    }
}

#[tokio::test]
async fn records_go_to_standard_error_by_default() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    let request = called(
        v1::SignRequest { payload: "{".into(), ..Default::default() },
        "told-in-the-journal",
    );
    daemon.signer.clone().sign(request).await.unwrap_err();
    let record = until("the record", async || {
        let log = daemon.log_text();
        let mut records = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        records.find(|record| record["request_id"] == "told-in-the-journal")
    })
    .await;
    assert_eq!([text(&record, "caller"), text(&record, "outcome")], ["tester", "InvalidArgument"]);
}

#[tokio::test]
async fn a_full_file_is_turned_over_and_a_restart_goes_on() {
    let hsmd =
        with_records(Hsmd::initialised().await).set("audit.max_bytes", 4000).set("audit.keep", 2);
    let ids: Vec<String> = (0..100).map(|number| format!("call-{number}")).collect();
    for half in ids.chunks(50) {
        let daemon = hsmd.serve().await;
        for id in half {
            let request = called(v1::SignRequest { payload: "{".into(), ..Default::default() }, id);
            daemon.signer.clone().sign(request).await.unwrap_err();
        }
        // A stop writes what was handed over.
        daemon.stop().await;
    }
    let file = |ending: &str| std::fs::read_to_string(hsmd.path(&format!("audit.jsonl{ending}")));
    assert!(file(".3").is_err(), "two older ones are kept");
    let mut found = Vec::new();
    for ending in [".2", ".1", ""] {
        let lines = file(ending).unwrap();
        assert!(lines.len() <= 4000);
        for line in lines.lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            found.extend(Some(text(&record, "request_id")).filter(|id| id.starts_with("call-")));
        }
    }
    assert!(found.len() > 20, "three files of about fourteen: {}", found.len());
    assert_eq!(found, ids[ids.len() - found.len()..], "the newest, each once, in order");
}

#[tokio::test]
async fn a_sink_that_cannot_be_opened_is_no_start() {
    let hsmd = with_records(Hsmd::initialised().await).set("audit.file", "@/nowhere/audit.jsonl");
    hsmd.launch(&[]).refused("cannot open the audit sink").await;
    let hsmd = hsmd.set("audit.sink", "syslog");
    hsmd.run(&["check"]).await.ended(64, "at sink: unknown variant");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_the_log_that_stalls_stops_no_call() {
    // In the long form of the tests for a minute, under more records than find room.
    let long = crate::told("HSMD_LONG").is_some();
    let (calls, stall, signers) = if long { (10_000, 60, 16) } else { (2_000, 0, 0) };
    let (hsmd, address) = observe::observed(with_callers(Hsmd::initialised().await, ""));
    let hsmd = hsmd.set("log.filter", "debug").set("audit.signatures", true);
    let log = hsmd.path("log");
    assert!(std::process::Command::new("mkfifo").arg(&log).status().unwrap().success());
    // Held open and not read: it takes 64 KiB.
    let pipe = std::fs::File::options().read(true).write(true).open(&log).unwrap();
    let daemon = hsmd.launch(&[]);
    until("the daemon serves", async || daemon.is_serving("").await.then_some(())).await;
    let begun = std::time::Instant::now();
    let mut signing = tokio::task::JoinSet::new();
    for _ in 0..signers {
        let rpc = hsmd.rpc();
        signing.spawn(async move {
            for _ in 0..1000 {
                rpc.sign(DOCUMENT).await.expect("a signature");
            }
        });
    }
    let mut refused = 0;
    while refused < calls || begun.elapsed() < Duration::from_secs(stall) {
        daemon.sign("{").await.unwrap_err();
        refused += 1;
    }
    signing.join_all().await;
    daemon.taint_head().await;
    daemon.sign(DOCUMENT).await.expect("a signature by the next key");
    let lost = observe::value(address, "hsmd_audit_records_lost_total").await.unwrap();
    assert_eq!(lost > 0.0, long, "{lost} records lost");
    // Once it is read again, what was dropped is said.
    let said = tokio::task::spawn_blocking(move || {
        let (mut lines, mut records) = (None, (!long).then_some(0));
        for line in std::io::BufRead::lines(std::io::BufReader::new(pipe)).map(Result::unwrap) {
            if let Some((count, _)) = line.split_once(" log lines dropped: standard error") {
                lines = lines.or(count.parse::<u64>().ok());
            } else if let Ok(record) = serde_json::from_str::<Value>(&line)
                && record["outcome"] == "Lost"
            {
                records = records.or(record["count"].as_u64());
            }
            if let (Some(lines), Some(records)) = (lines, records) {
                return (lines, records);
            }
        }
        panic!("the log ends");
    });
    // More lines come, so that the pipe is never silent.
    let (lines, records) = tokio::select! {
        said = said => said.unwrap(),
        () = async { loop { drop(daemon.sign("{").await) } } => unreachable!(),
    };
    assert!(lines > 0 && records as f64 >= lost, "{lines} lines, {records} records, {lost}");
    daemon.kill().await;
}
