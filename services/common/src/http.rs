//! An HTTP/1.1 server that is bounded in everything and stops gracefully.
//!
//! axum's own `serve` has no bound on the time a client takes to send its headers, on the number of
//! connections or on the time that stopping takes; this has.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, Request},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tower::ServiceExt as _;

use crate::{Shutdown, StartError, config::HttpConfig};

/// How long a client may take to send the head of a request, idle time between requests included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The most bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;

/// The server's bounds.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// How many connections are served at once; further ones wait in the listener's queue.
    pub max_connections: usize,
    /// How long one request may take, reading its body included: then 503, or 408 by closing.
    pub request_timeout: Duration,
    /// How long accepted requests may take to finish after the shutdown was asked for.
    pub stop_grace: Duration,
}

impl From<&HttpConfig> for ServeOptions {
    fn from(config: &HttpConfig) -> Self {
        Self {
            max_connections: config.max_connections,
            request_timeout: config.request_timeout,
            stop_grace: config.stop_grace,
        }
    }
}

/// Listens as configured and says so in the log.
///
/// # Errors
/// The address can't be listened on.
pub async fn bind(config: &HttpConfig) -> Result<TcpListener, StartError> {
    let unusable = |source| StartError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(unusable)?;
    let address = listener.local_addr().map_err(unusable)?;
    tracing::info!(%address, "listening");
    Ok(listener)
}

/// Serves until the shutdown, then lets accepted requests finish, for the grace period at the most. Each
/// request carries the address of the connection's other end as [`ConnectInfo`].
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: ServeOptions,
    mut shutdown: Shutdown,
) {
    let limit = options.request_timeout;
    let router =
        router.layer(middleware::from_fn(move |request, next| bounded(request, next, limit)));
    let places = Arc::new(Semaphore::new(options.max_connections));
    let connections = GracefulShutdown::new();
    loop {
        tokio::select! {
            () = shutdown.asked() => break,
            (stream, peer, place) = accept(&listener, &places) => {
                let router = router.clone().map_request(move |mut request: hyper::Request<Incoming>| {
                    request.extensions_mut().insert(ConnectInfo(peer));
                    request
                });
                let service = TowerToHyperService::new(router);
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIMEOUT)
                    .max_buf_size(HEAD_BYTES)
                    .serve_connection(TokioIo::new(stream), service);
                let connection = connections.watch(connection);
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "connection ended");
                    }
                    drop(place);
                });
            }
        }
    }
    drop(listener);
    if timeout(options.stop_grace, connections.shutdown()).await.is_err() {
        tracing::warn!("requests were still running after the grace period");
    }
}

/// The next connection that there is a place for, and who it is from.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there is always a permit in the end.
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "no TCP_NODELAY");
                }
                return (stream, peer, place);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                // Out of file descriptors, most likely: they come back when connections end.
                tracing::warn!(%error, "cannot accept");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn bounded(request: Request, next: Next, limit: Duration) -> Response {
    match timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
