//! The HTTP server's bounds, on real sockets: connections, time, and a stop that finishes what it began.
#![expect(clippy::unwrap_used, reason = "a failed step should end the test here")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::get};
use hsmd_runtime::{
    Health, Metrics, ServeOptions, Shutdown, Trigger, WhenFull, client_address, cors, serve,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
};

struct Server {
    address: SocketAddr,
    trigger: Trigger,
    task: JoinHandle<()>,
    /// Told when a request to `/wait` has begun.
    begun: Arc<Notify>,
    /// Lets a request to `/wait` end.
    end: Arc<Notify>,
}

async fn start(options: ServeOptions) -> Server {
    let (begun, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, ends) = (Arc::clone(&begun), Arc::clone(&end));
    let wait = async move || {
        begins.notify_one();
        ends.notified().await;
        "done"
    };
    let router = Router::new().route("/wait", get(wait)).route("/", get(async || "here"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (trigger, shutdown) = Shutdown::new();
    let task = tokio::spawn(serve(listener, router, options, shutdown));
    Server { address, trigger, task, begun, end }
}

fn options() -> ServeOptions {
    ServeOptions {
        max_connections: 10,
        max_connections_per_address: 10,
        when_full: WhenFull::Wait,
        connection_timeout: None,
        request_timeout: Duration::from_secs(10),
        stop_grace: Duration::from_secs(10),
    }
}

async fn connect(server: &Server, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn a_stop_finishes_what_was_accepted_and_accepts_nothing_more() {
    let server = start(options()).await;
    let waiting = connect(&server, "/wait").await;
    server.begun.notified().await;
    // An idle connection, kept alive, must not hold the stop up.
    let _idle = TcpStream::connect(server.address).await.unwrap();
    server.trigger.stop();
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!server.task.is_finished());
    server.end.notify_one();
    assert!(answer(waiting).await.ends_with("done"));
    server.task.await.unwrap();
}

#[tokio::test]
async fn a_stop_waits_no_longer_than_its_grace() {
    let server = start(ServeOptions { stop_grace: Duration::from_millis(50), ..options() }).await;
    let _waiting = connect(&server, "/wait").await;
    server.begun.notified().await;
    server.trigger.stop();
    server.task.await.unwrap();
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_503() {
    let timeout = Duration::from_millis(50);
    let server = start(ServeOptions { request_timeout: timeout, ..options() }).await;
    assert!(answer(connect(&server, "/wait").await).await.starts_with("HTTP/1.1 503"));
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_a_place() {
    let server = start(ServeOptions { max_connections: 1, ..options() }).await;
    let first = connect(&server, "/wait").await;
    server.begun.notified().await;
    let second = connect(&server, "/").await;
    let mut byte = [0];
    assert!(
        tokio::time::timeout(Duration::from_millis(50), second.peek(&mut byte)).await.is_err(),
        "answered beside the first"
    );
    server.end.notify_one();
    assert!(answer(first).await.ends_with("done"));
    assert!(answer(second).await.ends_with("here"));
}

#[tokio::test]
async fn idle_connections_keep_no_probe_out_where_the_oldest_is_closed() {
    let server = start(ServeOptions {
        max_connections: 2,
        when_full: WhenFull::CloseOldest,
        connection_timeout: Some(Duration::from_secs(60)),
        ..options()
    })
    .await;
    let mut oldest = TcpStream::connect(server.address).await.unwrap();
    let _idle = TcpStream::connect(server.address).await.unwrap();
    assert!(answer(connect(&server, "/").await).await.ends_with("here"));
    assert_eq!(oldest.read(&mut [0]).await.unwrap_or_default(), 0, "closed");
}

#[tokio::test]
async fn a_bounded_connection_serves_one_request_and_ends_in_time() {
    let timeout = Some(Duration::from_millis(50));
    let server = start(ServeOptions { connection_timeout: timeout, ..options() }).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(idle.read(&mut [0]).await.unwrap_or_default(), 0, "closed");
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    let text = answer(stream).await;
    assert!(text.contains("connection: close") && text.ends_with("here"), "{text}");
}

#[tokio::test]
async fn requests_are_counted_by_route_and_status() {
    let (ill, problem) = (Arc::new(AtomicBool::new(false)), "it is ill".to_owned());
    let is_ill = Arc::clone(&ill);
    let health = Health::new(move || match is_ill.load(Ordering::Relaxed) {
        true => vec![problem.clone()],
        false => Vec::new(),
    });
    let metrics = Metrics::new("a_service").with_health(health);
    let router = Router::new().route("/{name}", get(async || "here"));
    let router = metrics.count(router.fallback(async || StatusCode::NOT_FOUND));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (trigger, shutdown) = Shutdown::new();
    let router = router.merge(metrics.routes());
    let task = tokio::spawn(serve(listener, router, options(), shutdown));
    let server = Server { address, trigger, task, begun: Arc::default(), end: Arc::default() };
    for path in ["/a", "/b", "/a/b"] {
        answer(connect(&server, path).await).await;
    }
    let text = answer(connect(&server, "/metrics").await).await;
    for line in [
        r#"a_service_http_requests_total{route="/{name}",code="200"} 2"#,
        r#"a_service_http_requests_total{route="none",code="404"} 1"#,
        "a_service_http_request_seconds_count 3",
        "a_service_ready 1",
        "content-type: application/openmetrics-text",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    ill.store(true, Ordering::Relaxed);
    let text = answer(connect(&server, "/metrics").await).await;
    assert!(text.contains("a_service_ready 0"), "{text}");
}

#[test]
fn the_client_behind_a_proxy_is_found_in_the_headers() {
    let mut headers = axum::http::HeaderMap::new();
    for line in ["203.0.113.1, 198.51.100.7", "10.9.9.9"] {
        headers.append("x-forwarded-for", line.parse().unwrap());
    }
    let proxies = ["10.0.0.0/8".parse().unwrap()];
    let client = |peer: &str| client_address(peer.parse().unwrap(), &headers, &proxies).to_string();
    assert_eq!(client("10.1.2.3"), "198.51.100.7");
    assert_eq!(client("192.0.2.1"), "192.0.2.1");
}

#[tokio::test]
async fn an_endless_head_is_refused() {
    let server = start(options()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    // The rest of the head may meet a closed socket.
    let _outcome = stream.read_to_end(&mut text).await;
    assert!(String::from_utf8_lossy(&text).starts_with("HTTP/1.1 431"), "{text:?}");
}

#[tokio::test]
async fn health_says_what_is_wrong_and_cors_is_everywhere() {
    let ill = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&ill);
    let problems = move || match state.load(std::sync::atomic::Ordering::Relaxed) {
        true => vec!["no key".to_owned()],
        false => Vec::new(),
    };
    let health = Health::new(problems).with_details(|| json!({"head": 3}));
    let router: Router = health.routes().layer(cors());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (trigger, shutdown) = Shutdown::new();
    let task = tokio::spawn(serve(listener, router, options(), shutdown));
    let server = Server { address, trigger, task, begun: Arc::default(), end: Arc::default() };
    for (path, ill_status, ill_body, body) in [
        ("/live", 200, r#"{"status":"live"}"#, r#"{"status":"live"}"#),
        ("/ready", 503, r#"{"problems":["no key"],"status":"not ready"}"#, r#"{"status":"ready"}"#),
        (
            "/health",
            503,
            r#"{"head":3,"problems":["no key"],"status":"unhealthy"}"#,
            r#"{"head":3,"status":"healthy"}"#,
        ),
    ] {
        ill.store(true, std::sync::atomic::Ordering::Relaxed);
        let text = answer(connect(&server, path).await).await;
        assert!(text.starts_with(&format!("HTTP/1.1 {ill_status}")), "{text}");
        let found: serde_json::Value =
            serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(found, serde_json::from_str::<serde_json::Value>(ill_body).unwrap());
        assert!(text.contains("access-control-allow-origin: *"), "{text}");
        assert!(text.contains("cache-control: no-store"), "{text}");
        ill.store(false, std::sync::atomic::Ordering::Relaxed);
        let text = answer(connect(&server, path).await).await;
        assert!(text.starts_with(&format!("HTTP/1.1 {}", StatusCode::OK.as_u16())), "{text}");
        let found: serde_json::Value =
            serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(found, serde_json::from_str::<serde_json::Value>(body).unwrap());
    }
}
