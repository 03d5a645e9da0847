//! Who may do what, as a table; and what a reload changes.

use std::sync::Arc;

use hsmd_proto::v1;
use hsmd_tests::{Daemon, Database, Hsmd, Refusal, Rpc, until};
use nix::sys::signal::Signal;
use tonic::Code;

use crate::operation::observe::{observed, value};
use crate::operation::{DOCUMENT, HOUR, Tls, assert_refused, hang_up, head, reload, service_key};
use crate::operation::{with_callers, with_plaintext};

const CALLERS: &str = r#"
    [[caller]]
    name = "endorser"
    san = "spiffe://example.org/endorser"
    endorse = ["access"]
    max_ttl = "2h"
    [[caller]]
    name = "signer"
    san = "spiffe://example.org/signer"
    sign = ["document"]
    [[caller]]
    name = "reader"
    san = "reader.example.org"
    read_log = true
    [[caller]]
    name = "nothing"
    san = "nothing.example.org"
    [[caller]]
    name = "anybody"
    plaintext = true
    sign = ["other"]
"#;

const OTHER: &str = r#"{"purpose":"other"}"#;

/// One call of a kind, by its reason if refused.
async fn call(rpc: &Rpc, action: &str) -> Result<(), Refusal> {
    let key = service_key();
    match action {
        "endorse access" => rpc.endorse("access", &key, HOUR).await.map(drop),
        "endorse access, 2 h and 1 ms" => {
            let ttl = 2 * HOUR + std::time::Duration::from_millis(1);
            rpc.endorse("access", &key, ttl).await.map(drop)
        }
        "endorse response" => rpc.endorse("response", &key, HOUR).await.map(drop),
        "sign document" => rpc.sign(DOCUMENT).await.map(drop),
        "sign other" => rpc.sign(OTHER).await.map(drop),
        "sign both" => rpc.sign_batch(&[OTHER.into(), DOCUMENT.into()]).await.map(drop),
        "read" => head(rpc).await,
        "list" => {
            let request = v1::ListEventsRequest { from_sequence: 0, page_size: 0 };
            Ok(rpc.key_log.clone().list_events(request).await.map(drop)?)
        }
        "watch" => {
            let request = v1::WatchEventsRequest { from_sequence: 0 };
            Ok(rpc.key_log.clone().watch_events(request).await.map(drop)?)
        }
        other => panic!("no action {other}"),
    }
}

#[tokio::test]
async fn each_caller_may_do_what_is_said_and_nothing_else() {
    const ACTIONS: [&str; 9] = [
        "endorse access",
        "endorse access, 2 h and 1 ms",
        "endorse response",
        "sign document",
        "sign other",
        "sign both",
        "read",
        "list",
        "watch",
    ];
    let (hsmd, tls) = Tls::of(with_callers(Hsmd::initialised().await, CALLERS));
    let (hsmd, plaintext) = with_plaintext(hsmd);
    let _daemon = hsmd.serve().await;
    let (yes, purpose, ttl) = ("", "PURPOSE_NOT_ALLOWED", "TTL_TOO_LONG");
    let (read, nobody) = ("READ_NOT_ALLOWED", "CALLER_UNKNOWN");
    let san = |name: &str| tls.dial(&[name]).remote(&hsmd).rpc;
    let table = [
        ("tester", hsmd.rpc(), [yes; 9]),
        (
            "endorser",
            san("spiffe://example.org/endorser"),
            [yes, ttl, purpose, purpose, purpose, purpose, read, read, read],
        ),
        (
            "signer",
            san("spiffe://example.org/signer"),
            [purpose, purpose, purpose, yes, purpose, purpose, read, read, read],
        ),
        (
            "reader",
            san("reader.example.org"),
            [purpose, purpose, purpose, purpose, purpose, purpose, yes, yes, yes],
        ),
        (
            "nothing",
            san("nothing.example.org"),
            [purpose, purpose, purpose, purpose, purpose, purpose, read, read, read],
        ),
        (
            "anybody",
            plaintext.remote(&hsmd).rpc,
            [purpose, purpose, purpose, purpose, yes, purpose, read, read, read],
        ),
        ("a stranger", san("stranger.example.org"), [nobody; 9]),
    ];
    for (caller, rpc, expected) in table {
        for (action, expected) in ACTIONS.into_iter().zip(expected) {
            let found = call(&rpc, action).await;
            let reason = found.as_ref().err().map_or("", |refusal| refusal.reason.as_str());
            assert_eq!(reason, expected, "{caller}: {action}: {found:?}");
            if let Err(refusal) = found {
                assert_eq!(refusal.code, Code::PermissionDenied, "{caller}: {action}");
            }
        }
    }
}

#[tokio::test]
async fn purposes_are_of_one_kind_and_some_are_nobodys() {
    let hsmd = with_callers(Hsmd::initialised().await, "");
    let daemon = hsmd.serve().await;
    let key = service_key();
    for (purpose, reason) in [
        ("document", "PURPOSE_WRONG_KIND"),
        ("health", "PURPOSE_RESERVED"),
        ("key-authorization", "PURPOSE_RESERVED"),
        ("", "MALFORMED_PURPOSE"),
        ("Access", "MALFORMED_PURPOSE"),
        (&"a".repeat(65), "MALFORMED_PURPOSE"),
    ] {
        assert_refused(daemon.endorse(purpose, &key, HOUR).await, Code::InvalidArgument, reason);
    }
    for (purpose, reason) in [
        ("access", "PURPOSE_WRONG_KIND"),
        ("health", "PURPOSE_RESERVED"),
        ("key-authorization", "PURPOSE_RESERVED"),
        ("do cument", "MALFORMED_PURPOSE"),
    ] {
        let document = format!(r#"{{"purpose":"{purpose}"}}"#);
        assert_refused(daemon.sign(&document).await, Code::InvalidArgument, reason);
        let batch = daemon.sign_batch(&[DOCUMENT.into(), document]).await;
        assert!(batch.as_ref().unwrap_err().message.starts_with("item 1: "), "{batch:?}");
        assert_refused(batch, Code::InvalidArgument, reason);
    }
    let unknown = daemon.endorse("unknown", &key, HOUR).await;
    assert_refused(unknown, Code::PermissionDenied, "PURPOSE_NOT_ALLOWED");
}

#[tokio::test]
async fn each_admin_may_do_what_is_said_and_nothing_else() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    let mut head = daemon.head().await.event().id();
    for allowed in [&["status"][..], &["rotate"], &["taint"], &[], &["status", "taint"]] {
        reload(&hsmd, &daemon, |table| {
            let allowed: Vec<toml::Value> = allowed.iter().map(|&a| a.into()).collect();
            table["admin"][0].as_table_mut().unwrap().insert("allow".into(), allowed.into());
        })
        .await;
        let check = |action: &str, refusal: Option<&Refusal>| {
            let reason = refusal.map(|refusal| (refusal.code, refusal.reason.as_str()));
            let denied = Some((Code::PermissionDenied, "ACTION_NOT_ALLOWED"));
            let expected = if allowed.contains(&action) { None } else { denied };
            assert_eq!(reason, expected, "{action} by one who may {allowed:?}");
        };
        check("status", daemon.status().await.as_ref().err());
        let actions = daemon.admin.clone().list_actions(v1::ListActionsRequest::default()).await;
        check("status", actions.map_err(Refusal::from).as_ref().err());
        for action in ["rotate", "taint"] {
            let result = match action {
                "rotate" => daemon.rotate(head.as_str()).await,
                _ => daemon.taint(head.as_str()).await,
            };
            check(action, result.as_ref().err());
            if let Ok((event, _)) = result {
                head = event.event().id();
            }
        }
    }
    // Nobody who is not configured.
    reload(&hsmd, &daemon, |table| {
        table["admin"][0].as_table_mut().unwrap().insert("uid".into(), 4711.into());
    })
    .await;
    assert_refused(daemon.status().await, Code::PermissionDenied, "CALLER_UNKNOWN");
    assert_eq!(hsmd.history().await.events().len(), 4);
}

/// A daemon with the caller "signer" on one open connection.
async fn with_an_open_connection() -> (Hsmd, Daemon, crate::operation::remote::Remote) {
    let (hsmd, tls) = Tls::of(with_callers(Hsmd::initialised().await, CALLERS));
    let daemon = hsmd.serve().await;
    let signer = tls.dial(&["spiffe://example.org/signer"]).remote(&hsmd);
    signer.rpc.sign(DOCUMENT).await.unwrap();
    (hsmd, daemon, signer)
}

fn signer(table: &mut toml::Table) -> &mut toml::Table {
    table["caller"][2].as_table_mut().unwrap()
}

#[tokio::test]
async fn new_rights_hold_at_once_on_open_connections() {
    let (hsmd, daemon, remote) = with_an_open_connection().await;
    let rpc = &remote.rpc;
    reload(&hsmd, &daemon, |table| {
        signer(table).insert("sign".into(), toml::Value::Array(vec!["other".into()]));
        signer(table).insert("read_log".into(), true.into());
    })
    .await;
    assert_refused(rpc.sign(DOCUMENT).await, Code::PermissionDenied, "PURPOSE_NOT_ALLOWED");
    rpc.sign(OTHER).await.unwrap();
    let request = v1::WatchEventsRequest { from_sequence: 0 };
    let mut watch = rpc.key_log.clone().watch_events(request).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();

    reload(&hsmd, &daemon, |table| drop(table["caller"].as_array_mut().unwrap().remove(2))).await;
    assert_refused(rpc.sign(OTHER).await, Code::PermissionDenied, "CALLER_UNKNOWN");
    // An open watch is judged again at its next heartbeat.
    let end = until("the watch ends", async || watch.message().await.err()).await;
    assert_refused::<()>(Err(end.into()), Code::PermissionDenied, "CALLER_UNKNOWN");
    assert_eq!(remote.connections(), 1);
}

#[tokio::test]
async fn a_broken_file_changes_nothing_at_all() {
    let (hsmd, daemon, remote) = with_an_open_connection().await;
    let path = hsmd.path("hsmd.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    let strict = good.replace("read_log = true", "read_log = false");
    assert_ne!(strict, good);
    for broken in [
        String::new(),
        "= nonsense".to_owned(),
        format!("{strict}\nunknown = 1\n"),
        strict.replace("name = \"signer\"", "name = \"tester\""),
        strict.replace("sign = [\"document\"]", "sign = [\"unheard-of\"]"),
        strict.replace("\"access\"", "\"health\""),
        strict.replace("name = \"reader\"", "name = \"reader\"\nplaintext = true"),
    ] {
        assert_ne!(broken, strict);
        std::fs::write(&path, broken).unwrap();
        hang_up(&daemon, "the old policy stays in force").await;
        remote.rpc.sign(DOCUMENT).await.unwrap();
        head(&daemon).await.unwrap();
    }
    std::fs::remove_file(&path).unwrap();
    hang_up(&daemon, "the old policy stays in force").await;
    head(&daemon).await.unwrap();

    // What needs a restart is said, and the policy is taken nevertheless.
    let moved = strict.replace("service.sock", "elsewhere.sock");
    std::fs::write(&path, moved).unwrap();
    hang_up(&daemon, "other settings have changed as well: they need a restart").await;
    assert_refused(head(&daemon).await, Code::PermissionDenied, "READ_NOT_ALLOWED");
    assert_eq!(remote.connections(), 1);
    std::fs::write(&path, good).unwrap();
    hang_up(&daemon, "the policy is reloaded").await;
    let rpc: Arc<Rpc> = Arc::new(hsmd.rpc());
    head(&rpc).await.unwrap();
}

#[tokio::test]
async fn that_the_file_is_not_what_runs_is_a_problem_and_a_metric() {
    let (hsmd, address) = observed(with_callers(Hsmd::initialised().await, ""));
    let daemon = hsmd.serve().await;
    let path = hsmd.path("hsmd.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    for (file, problem) in [
        (format!("{good}\nunknown = 1\n"), "the reload was refused"),
        (good.replace("service.sock", "elsewhere.sock"), "settings that need a restart"),
    ] {
        assert_eq!(value(address, "hsmd_config_current").await, Some(1.0));
        std::fs::write(&path, file).unwrap();
        daemon.signal(Signal::SIGHUP);
        let status = daemon.problem(problem).await;
        assert_eq!(status.state(), v1::ServingState::Degraded);
        assert_eq!(value(address, "hsmd_config_current").await, Some(0.0));
        daemon.sign(DOCUMENT).await.unwrap();
        std::fs::write(&path, &good).unwrap();
        hang_up(&daemon, "the policy is reloaded").await;
        until("no problem", async || daemon.status().await.ok()?.problems.is_empty().then_some(()))
            .await;
    }
}

#[tokio::test]
async fn a_file_is_checked_alone() {
    let hsmd = with_callers(Hsmd::fresh().await, "")
        .set("database.writer_url_file", "@/no.url")
        .set("state_dir", "@/no/folder")
        .set("token", toml::Value::Array(vec![no_token().into()]));
    let said = hsmd.run(&["check", "--config-only"]).await.good();
    assert!(said.contains("configuration  is valid"), "{said}");
    assert!(!hsmd.path("no").exists());
    hsmd.run(&["check"]).await.ended(1, "no.url");
    let broken = hsmd.set("standby", "perhaps");
    broken.run(&["check", "--config-only"]).await.ended(64, "hsmd.toml is not valid");
}

fn no_token() -> toml::Table {
    "module = \"/no/module.so\"\nlabel = \"none\"\npin_file = \"@/no.pin\"".parse().unwrap()
}

#[tokio::test]
async fn a_step_before_serve_fails_only_for_what_serve_refuses() {
    let hsmd = Hsmd::fresh_over(Database::create_alone().await).await;
    hsmd.migrate().await;
    hsmd.init().await;
    let check = async |hsmd: &Hsmd| hsmd.run(&["check", "--before-serve"]).await;
    check(&hsmd).await.good();
    // What `serve` waits for: the token, the database. What is wrong is said all the same.
    let unplugged = hsmd.token.unplug();
    assert!(check(&hsmd).await.good().contains("BAD"));
    unplugged.plug_in();
    hsmd.database.stop_server();
    assert!(check(&hsmd).await.good().contains("BAD  database"));
    hsmd.run(&["check"]).await.refused("BAD  database");
    hsmd.run(&["migrate"]).await.refused("cannot connect to the database");
    let (waited, ()) = tokio::join!(hsmd.run(&["migrate", "--wait", "5m"]), async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        hsmd.database.start_server();
    });
    waited.good();
    hsmd.run(&["check", "--wait", "5m"]).await.good();
    hsmd.database.execute(true, "DROP SCHEMA hsmd CASCADE").await.unwrap();
    check(&hsmd).await.refused("run `hsmd migrate`");
}
