//! Crowds at the HTTP server: half-open connections by the thousand, on real sockets.
#![expect(clippy::unwrap_used, reason = "a failed step should end the test here")]

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use axum::{Router, routing::get};
use hsmd_runtime::{Health, HttpConfig, Probes, Shutdown, bind, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
    time::timeout,
};

/// How long anything may take: a loaded machine is no fault.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Room for descriptors: this process has both ends of each connection.
fn make_room() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(most >= 4000, "4000 descriptors are needed: raise `ulimit -Hn`");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
}

/// A configuration as it is written.
fn config(more: &str) -> HttpConfig {
    toml::from_str(&format!("listen = \"127.0.0.1:0\"\n{more}")).unwrap()
}

async fn start(config: &HttpConfig) -> SocketAddr {
    let listener = bind(config).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/", get(async || "here"));
    let (trigger, shutdown) = Shutdown::new();
    let options = config.into();
    tokio::spawn(async move {
        serve(listener, router, options, shutdown).await;
        drop(trigger);
    });
    address
}

async fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// The status line and the body of an answer.
async fn get_from(from: Ipv4Addr, to: SocketAddr, path: &str) -> String {
    let mut stream = connect(from, to).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    timeout(TEST_TIMEOUT, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    text
}

/// Whether the server has closed the connection, perhaps with a reset.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    timeout(TEST_TIMEOUT, stream.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test]
async fn one_address_has_so_many_connections_and_others_are_served() {
    let address = start(&config("max_connections_per_address = 3")).await;
    let (greedy, other) = (Ipv4Addr::new(127, 9, 9, 1), Ipv4Addr::new(127, 9, 9, 2));
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = connect(greedy, address).await;
        // Kept alive: it is served, and stays.
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        held.push(stream);
    }
    assert!(is_closed(&mut connect(greedy, address).await).await, "one too many");
    assert!(get_from(other, address, "/").await.ends_with("here"));
    drop(held);
    let again = async {
        loop {
            let mut stream = connect(greedy, address).await;
            let request = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
            let mut text = String::new();
            let asked = stream.write_all(request).await;
            if asked.is_ok() && stream.read_to_string(&mut text).await.is_ok() && !text.is_empty() {
                return text;
            }
        }
    };
    assert!(timeout(TEST_TIMEOUT, again).await.unwrap().ends_with("here"), "what it gave back");
}

#[tokio::test]
async fn a_head_that_does_not_end_is_not_waited_for() {
    let address = start(&config("")).await;
    let mut silent = connect(Ipv4Addr::LOCALHOST, address).await;
    let mut slow = connect(Ipv4Addr::LOCALHOST, address).await;
    slow.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n").await.unwrap();
    assert!(is_closed(&mut silent).await && is_closed(&mut slow).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_by_the_thousand_stop_no_probe() {
    make_room();
    // A free port, which the configuration must name.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let probes_at = free.local_addr().unwrap();
    drop(free);
    let config = config(&format!("probes = \"{probes_at}\""));
    let address = start(&config).await;
    let (trigger, shutdown) = Shutdown::new();
    let probes = Probes::bind(config.probes).await.unwrap();
    let probes = tokio::spawn(probes.serve(Health::new(Vec::new).routes(), shutdown));
    // From five addresses, so that they use up all connections and not only one address' share.
    let mut opening = JoinSet::new();
    for number in 0..1100_u32 {
        let from = Ipv4Addr::new(127, 9, 8, u8::try_from(number % 5).unwrap() + 1);
        opening.spawn(async move {
            loop {
                let mut stream = connect(from, address).await;
                let _half = stream.write_all(b"GET / HTTP/1.1\r\n").await;
                // Closed when its time is over: then once more.
                let mut rest = Vec::new();
                let _closed = stream.read_to_end(&mut rest).await;
            }
        });
    }
    for _ in 0..50 {
        for path in ["/live", "/ready"] {
            let answer = get_from(Ipv4Addr::LOCALHOST, probes_at, path).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        }
    }
    // Nor those of the probes' own listener.
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(connect(Ipv4Addr::LOCALHOST, probes_at).await);
    }
    let answer = get_from(Ipv4Addr::LOCALHOST, probes_at, "/live").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    trigger.stop();
    probes.await.unwrap();
}
