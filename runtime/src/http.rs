//! An HTTP/1.1 server that is bounded in everything and stops gracefully.
//!
//! axum's own `serve` has no bound on the time a client takes to send its headers, on the number of
//! connections or on the time that stopping takes; this has.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use axum::{
    Router,
    extract::ConnectInfo,
    http::{HeaderMap, HeaderName, StatusCode},
};
use hsmd_support::{duration, proxy};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::OwnedSemaphorePermit,
    time::{sleep, timeout},
};
use tower::ServiceExt as _;
use tower_http::timeout::TimeoutLayer;

use crate::{
    Shutdown, StartError,
    places::{Addresses, OfAddress, Places},
};

/// How long a client may take to send the head of a request, idle time between requests included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;

/// How long to wait when the system has no descriptor left.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// What proxies add: whom they were asked by, after what they were told.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// `[http]`: where the service listens, and its bounds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Where to listen for HTTP; port 0 takes a free one, which the log names.
    pub listen: SocketAddr,
    /// How long accepted requests may take to finish after SIGTERM.
    #[serde(default = "ten_seconds", deserialize_with = "duration")]
    pub stop_grace: Duration,
    /// How many connections are served at once; further ones wait.
    #[serde(default = "default_connections")]
    pub max_connections: usize,
    /// How many of them from one address; further ones are closed.
    #[serde(default = "default_connections_per_address")]
    pub max_connections_per_address: usize,
    /// Where to listen for probes only: `/live`, `/ready`, `/health` as well as on `listen`.
    pub probes: Option<SocketAddr>,
    /// How long one request may take, reading it included.
    #[serde(default = "ten_seconds", deserialize_with = "duration")]
    pub request_timeout: Duration,
}

/// The server's bounds.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// How many connections are served at once.
    pub max_connections: usize,
    /// How many of them from one address; further ones are closed.
    pub max_connections_per_address: usize,
    /// What becomes of a connection beyond that.
    pub when_full: WhenFull,
    /// How long one request may take, reading its body included: then 503.
    pub request_timeout: Duration,
    /// How long a connection may last, if that is bounded. Each then serves one request.
    pub connection_timeout: Option<Duration>,
    /// How long accepted requests may take to finish after the shutdown was asked for.
    pub stop_grace: Duration,
}

/// What becomes of a connection when there are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// It waits in the listener's queue until another has ended.
    Wait,
    /// The oldest is closed in its favour: connections that idle keep no probe out.
    CloseOldest,
}

impl From<&HttpConfig> for ServeOptions {
    fn from(config: &HttpConfig) -> Self {
        Self {
            max_connections: config.max_connections,
            max_connections_per_address: config.max_connections_per_address,
            when_full: WhenFull::Wait,
            request_timeout: config.request_timeout,
            connection_timeout: None,
            stop_grace: config.stop_grace,
        }
    }
}

/// Listens as configured and says so in the log.
///
/// # Errors
/// [`StartError::Listen`].
pub async fn bind(config: &HttpConfig) -> Result<TcpListener, StartError> {
    listen(config.listen, "listening").await
}

pub(crate) async fn listen(
    address: SocketAddr,
    said: &'static str,
) -> Result<TcpListener, StartError> {
    let unusable = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(unusable)?;
    let address = listener.local_addr().map_err(unusable)?;
    tracing::info!(%address, "{said}");
    Ok(listener)
}

/// Serves until the shutdown, then lets accepted requests finish, for the grace period at the most. Each
/// request carries the address of the connection's other end as [`ConnectInfo`].
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: ServeOptions,
    shutdown: Shutdown,
) {
    let addresses = Addresses::new(options.max_connections_per_address);
    serve_from(Tcp { listener, addresses }, router, options, shutdown).await;
}

/// Where connections come from.
pub(crate) trait Source: Send + Sync {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// What counts it while it lasts.
    type Counted: Send + 'static;

    /// The next connection that may be served.
    fn accept(&self) -> impl Future<Output = Accepted<Self::Stream, Self::Counted>> + Send;
}

/// A connection that may be served.
pub(crate) struct Accepted<S, C> {
    pub(crate) stream: S,
    /// The address of its other end, if that has one.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) counted: C,
}

/// As [`serve`], whatever connections come from.
pub(crate) async fn serve_from<S: Source>(
    source: S,
    router: Router,
    options: ServeOptions,
    mut shutdown: Shutdown,
) {
    let limit =
        TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, options.request_timeout);
    let router = router.layer(limit);
    let mut places = Places::new(&options);
    let connections = GracefulShutdown::new();
    loop {
        tokio::select! {
            () = shutdown.asked() => break,
            (Accepted { stream, peer, counted }, place) = next(&source, &places) => {
                let router = router.clone().map_request(move |mut request: hyper::Request<Incoming>| {
                    if let Some(peer) = peer {
                        request.extensions_mut().insert(ConnectInfo(peer));
                    }
                    request
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIMEOUT)
                    .max_buf_size(HEAD_BYTES)
                    .keep_alive(options.connection_timeout.is_none())
                    .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
                let connection = connections.watch(connection);
                let bound = options.connection_timeout.unwrap_or(Duration::MAX);
                let task = tokio::spawn(async move {
                    match timeout(bound, connection).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::debug!(?peer, %error, "HTTP connection failed"),
                        Err(_) => tracing::debug!(?peer, "HTTP connection timed out"),
                    }
                    drop((place, counted));
                });
                places.taken(task.abort_handle());
            }
        }
    }
    drop(source);
    if timeout(options.stop_grace, connections.shutdown()).await.is_err() {
        tracing::warn!("requests were still running after the grace period");
    }
}

/// The next connection, once there is a place for it.
async fn next<S: Source>(
    source: &S,
    places: &Places,
) -> (Accepted<S::Stream, S::Counted>, Option<OwnedSemaphorePermit>) {
    let place = places.wait().await;
    (source.accept().await, place)
}

/// Waits where accepting fails because the system is out of descriptors, most likely: they come back when
/// connections end.
pub(crate) async fn after_failed_accept(error: &io::Error) {
    if error.kind() != io::ErrorKind::ConnectionAborted {
        tracing::warn!(%error, "cannot accept a connection");
        sleep(ACCEPT_RETRY_DELAY).await;
    }
}

/// Connections over TCP.
struct Tcp {
    listener: TcpListener,
    addresses: Addresses,
}

impl Source for Tcp {
    type Stream = TcpStream;
    type Counted = OfAddress;

    async fn accept(&self) -> Accepted<TcpStream, OfAddress> {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let Some(counted) = self.addresses.admit(peer.ip()) else {
                        tracing::debug!(%peer, "too many connections of one address: closed");
                        continue;
                    };
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "no TCP_NODELAY");
                    }
                    return Accepted { stream, peer: Some(peer), counted };
                }
                Err(error) => after_failed_accept(&error).await,
            }
        }
    }
}

/// The client of a request: `peer`, or what a trusted proxy's `X-Forwarded-For` says. For limits.
#[must_use]
pub fn client_address(peer: IpAddr, headers: &HeaderMap, proxies: &[proxy::Network]) -> IpAddr {
    let lines = headers.get_all(FORWARDED_FOR).iter();
    proxy::client(peer, lines.map(|line| line.to_str().unwrap_or_default()), proxies)
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn default_connections() -> usize {
    1024
}

fn default_connections_per_address() -> usize {
    256
}
