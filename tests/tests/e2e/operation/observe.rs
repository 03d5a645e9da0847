//! What Prometheus, Kubernetes and people see over HTTP.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use hsmd_proto::v1;
use hsmd_tests::{Daemon, Database, Hsmd, TEST_TIMEOUT, until, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::operation::http::get;
use crate::operation::pki::{Files, in_seconds};
use crate::operation::{DOCUMENT, SERVER, Tls, address, service_key, with_callers};

/// The documentation of every metric: a table of the daemon's, and one of the services'.
const DOCUMENTED: &str = include_str!("../../../../docs/metrics.md");

/// How soon `/ready` tells the truth: within a second, and a loaded machine takes longer to ask.
const TOLD_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

pub(crate) fn observed(hsmd: Hsmd) -> (Hsmd, SocketAddr) {
    let address = address();
    (hsmd.set("observe.address", address.to_string()), address)
}

async fn metrics(address: SocketAddr) -> String {
    let (code, text) = get(address, "/metrics").await;
    assert_eq!(code, 200);
    text
}

/// The value of one series, by its whole name with labels.
pub(crate) async fn value(address: SocketAddr, series: &str) -> Option<f64> {
    let text = metrics(address).await;
    let line =
        text.lines().find(|line| line.strip_prefix(series).is_some_and(|r| r.starts_with(' ')));
    line.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

/// Waits until a gauge has a value, since some are read a moment later.
async fn becomes(address: SocketAddr, series: &str, expected: f64) {
    until(&format!("{series} is {expected}"), async || {
        (value(address, series).await == Some(expected)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_metrics_are_the_documented_ones() {
    let (hsmd, address) = observed(Hsmd::initialised().await);
    let _daemon = hsmd.serve().await;
    // What has labels is there once something was counted.
    let _unplugged = hsmd.token.unplug();
    let text = until("an error of the token", async || {
        let text = metrics(address).await;
        let counted =
            ["requests_total", "token_errors_total", "token_last_error_timestamp_seconds"];
        counted.iter().all(|name| text.contains(&format!("hsmd_{name}{{"))).then_some(text)
    })
    .await;
    let exported: BTreeSet<(String, String)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, kind)| {
            // OpenMetrics names a counter's family without the ending of its series.
            let ending = if kind == "counter" { "_total" } else { "" };
            (format!("{name}{ending}"), kind.to_owned())
        })
        .collect();
    let of_the_daemon = DOCUMENTED.split("\n## ").next().unwrap();
    let documented: BTreeSet<(String, String)> = of_the_daemon
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|line| {
            let (name, rest) = line.split_once("` | ").unwrap();
            let kind = rest.split([' ', ':']).next().unwrap();
            (name.to_owned(), kind.to_owned())
        })
        .collect();
    assert_eq!(exported, documented);
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn calls_are_counted_by_method_caller_and_code() {
    let (hsmd, address) = observed(with_callers(Hsmd::initialised().await, ""));
    let (hsmd, tls) = Tls::of(hsmd);
    let daemon = hsmd.serve().await;
    for _ in 0..3 {
        daemon.sign(DOCUMENT).await.unwrap();
    }
    daemon.sign("{").await.unwrap_err();
    daemon.endorse("health", &service_key(), crate::operation::HOUR).await.unwrap_err();
    let stranger = tls.dial(&["stranger.example.org"]).remote(&hsmd).rpc;
    crate::operation::head(&stranger).await.unwrap_err();
    stranger.status().await.unwrap_err();
    daemon.status().await.unwrap();
    for (method, caller, code, count) in [
        ("Sign", "tester", "Ok", 3.0),
        ("Sign", "tester", "InvalidArgument", 1.0),
        ("Endorse", "tester", "InvalidArgument", 1.0),
        ("GetHead", "unknown", "PermissionDenied", 1.0),
        ("Status", "unknown", "PermissionDenied", 1.0),
        ("Status", "tester", "Ok", 1.0),
    ] {
        let series = format!(
            "hsmd_requests_total{{method=\"{method}\",caller=\"{caller}\",code=\"{code}\"}}"
        );
        assert_eq!(value(address, &series).await, Some(count), "{series}");
    }
    assert_eq!(value(address, "hsmd_tree_leaves_count").await, Some(0.0));
    daemon.sign_batch_accepting(&vec![DOCUMENT.to_owned(); 5]).await.unwrap();
    for (part, count) in [("sum", 5.0), ("count", 1.0)] {
        let series = format!("hsmd_tree_leaves_{part}");
        assert_eq!(value(address, &series).await, Some(count), "{series}");
    }
    for histogram in ["hsmd_queue_seconds_count", "hsmd_hsm_seconds_count"] {
        assert!(value(address, histogram).await.unwrap() >= 3.0, "{histogram}");
    }
}

#[tokio::test]
async fn the_gauges_follow_the_daemon() {
    let (hsmd, tls) = Tls::of(Hsmd::initialised().await);
    let (hsmd, address) = observed(hsmd);
    let ends = in_seconds(86_400);
    let certificate = tls.servers.issue_until(&[SERVER], ends);
    Files(&hsmd).write(&certificate, &tls.clients.pem);
    let daemon = hsmd.serve().await;
    let expiry = "hsmd_certificate_expiry_timestamp_seconds";
    becomes(address, expiry, ends.unix_timestamp() as f64).await;
    let start = value(address, "hsmd_certificate_start_timestamp_seconds").await.unwrap();
    assert!(0.0 < start && start < ends.unix_timestamp() as f64, "{start}");
    let version = format!("hsmd_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(value(address, &version).await, Some(1.0));
    assert_eq!(value(address, "hsmd_standby").await, Some(0.0));
    for gauge in [
        "hsmd_ready",
        "hsmd_database_connected",
        "hsmd_lock_held",
        "hsmd_token_owned",
        "hsmd_config_current",
    ] {
        becomes(address, gauge, 1.0).await;
    }
    assert_eq!(value(address, "hsmd_active_sequence_number").await, Some(0.0));
    daemon.rotate_head().await;
    assert_eq!(value(address, "hsmd_active_sequence_number").await, Some(1.0));
    assert!(value(address, "hsmd_head_age_seconds").await.unwrap() <= 300.0);
    assert_eq!(value(address, "hsmd_queue_depth").await, Some(0.0));
    let good = value(address, "hsmd_last_good_signature_timestamp_seconds").await.unwrap();
    assert!((good - hsmd_tests::now().unix_millis() as f64 / 1000.0).abs() < 300.0);

    let renewed = in_seconds(2 * 86_400);
    let certificate = tls.servers.issue_until(&[SERVER], renewed);
    Files(&hsmd).write(&certificate, &tls.clients.pem);
    becomes(address, expiry, renewed.unix_timestamp() as f64).await;
}

/// Both are wrong for longer than a call and keep nothing from signing.
#[tokio::test]
async fn a_missing_next_key_and_a_pending_event_are_measured() {
    let hsmd = Hsmd::fresh().await.with_database(Database::create_alone().await);
    hsmd.migrate().await;
    hsmd.init().await;
    let (hsmd, address) = observed(hsmd);
    let daemon = hsmd.serve().await;
    becomes(address, "hsmd_event_pending", 0.0).await;
    becomes(address, "hsmd_next_key_usable", 1.0).await;
    hsmd.database.stop_server();
    daemon.taint_head().await;
    becomes(address, "hsmd_event_pending", 1.0).await;
    is_ready(address, &daemon).await;
    hsmd.database.start_server();
    becomes(address, "hsmd_event_pending", 0.0).await;

    hsmd.token.destroy(2);
    let head = daemon.head().await.event().id();
    daemon.rotate(head.as_str()).await.unwrap_err();
    becomes(address, "hsmd_next_key_usable", 0.0).await;
    is_ready(address, &daemon).await;
}

/// The health service follows a change after its period, so it is waited for.
async fn is_ready(address: SocketAddr, daemon: &Daemon) {
    until("ready", async || (readiness(address, daemon).await == (200, true)).then_some(())).await;
}

async fn readiness(address: SocketAddr, daemon: &Daemon) -> (u16, bool) {
    let (code, _) = get(address, "/ready").await;
    (code, daemon.is_serving("").await)
}

#[tokio::test]
async fn readiness_is_truthful_when_the_token_goes_and_comes() {
    let (hsmd, address) = observed(Hsmd::initialised().await);
    let daemon = hsmd.serve().await;
    assert_eq!(readiness(address, &daemon).await, (200, true));
    assert_eq!(get(address, "/health").await, (200, r#"{"status":"healthy"}"#.into()));
    let unplugged = hsmd.token.unplug();
    within(TOLD_WITHIN, "not ready", async || {
        (readiness(address, &daemon).await == (503, false)).then_some(())
    })
    .await;
    let (code, why) = get(address, "/ready").await;
    assert_eq!(code, 503);
    assert!(why.contains(r#""status":"not ready""#) && why.contains("problems"), "{why}");
    let live = (200, r#"{"status":"live"}"#.into());
    assert_eq!(get(address, "/live").await, live, "no restart would help");
    assert_eq!(value(address, "hsmd_ready").await, Some(0.0));
    let refused = daemon.sign(DOCUMENT).await;
    crate::operation::assert_refused(refused, tonic::Code::Unavailable, "TOKEN_UNAVAILABLE");
    let errors: f64 = metrics(address)
        .await
        .lines()
        .filter(|line| line.starts_with("hsmd_token_errors_total{ckr=\""))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum();
    assert!(errors > 0.0, "the token's errors are counted by CKR");

    unplugged.plug_in();
    is_ready(address, &daemon).await;
    daemon.sign(DOCUMENT).await.unwrap();
    assert_eq!(value(address, "hsmd_ready").await, Some(1.0));
    assert!(value(address, "hsmd_token_recoveries_total").await.unwrap() >= 1.0);
    daemon.rotate_head().await;
    assert_eq!(hsmd.history().await.events().len(), 2);
}

#[tokio::test]
async fn a_daemon_that_cannot_start_is_alive_and_says_why() {
    let (hsmd, address) = observed(Hsmd::initialised().await);
    hsmd.write_pin("13579-wrong");
    let mut daemon = hsmd.launch(&[]);
    daemon.problem("PIN").await;
    let (code, why) = get(address, "/ready").await;
    assert_eq!(code, 503);
    assert!(why.contains("PIN"), "{why}");
    assert_eq!(get(address, "/live").await.0, 200);
    assert_eq!(value(address, "hsmd_ready").await, Some(0.0));
    assert_eq!(get(address, "/elsewhere").await.0, 404);
    hsmd.correct_pin();
    daemon.ready().await;
    let status = daemon.admin.clone().status(v1::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.state(), v1::ServingState::Serving);
    assert_eq!(get(address, "/ready").await.0, 200);
}

/// Whoever holds connections open, or sends next to nothing on them, keeps no probe out.
#[tokio::test]
async fn idle_connections_keep_no_probe_out() {
    let (hsmd, address) = observed(Hsmd::initialised().await);
    let daemon = hsmd.serve().await;
    let mut idle = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if number % 2 == 0 {
            // An old one may have been ended by now.
            drop(stream.write_all(b"GET /ready HTTP/1.1\r\n").await);
        }
        idle.push(stream);
        if number % 50 == 49 {
            assert_eq!(get(address, "/ready").await.0, 200);
        }
    }
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    assert!(descriptors() < 200, "{} descriptors", descriptors());
    // The first gave way to others, the last has had its time.
    for stream in [idle.swap_remove(0), idle.pop().unwrap()] {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(TEST_TIMEOUT, { stream }.read_to_end(&mut rest)).await;
        drop(ended.expect("the daemon closes the connection"));
    }
    assert_eq!(get(address, "/live").await.0, 200);
    assert_eq!(get(address, &format!("/{}", "a".repeat(20_000))).await.0, 431);
}
