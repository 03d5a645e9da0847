//! Metrics and health over HTTP, for Prometheus, for Kubernetes without gRPC probes, and for people.
//!
//! A connection is for one request and has a few seconds for it; at the limit of connections the oldest
//! ends, so that idle connections keep no probe out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::daemon::health;
use crate::daemon::state::Shared;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Connections at once: scrapers, probes, a few people.
const CONNECTIONS: usize = 64;

/// How long a connection has for its request and the answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;

/// How long to wait when the system has no descriptor left.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Serves until `stop` becomes true.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/health", get(ready))
        .with_state(shared);
    let mut open: VecDeque<JoinHandle<()>> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                open.retain(|connection| !connection.is_finished());
                if open.len() >= CONNECTIONS
                    && let Some(oldest) = open.pop_front()
                {
                    oldest.abort();
                }
                open.push_back(tokio::spawn(answer(stream, router.clone())));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for metrics and health");
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match tokio::time::timeout(REQUEST_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "connection for metrics and health failed"),
        Err(_) => tracing::debug!("connection for metrics and health timed out"),
    }
}

/// The process answers; that is all that a restart could cure.
async fn live() -> &'static str {
    "live\n"
}

/// Whether a signature can be had now, and why not.
async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    match health::obstacle(&shared) {
        None => (StatusCode::OK, "ready\n").into_response(),
        Some(obstacle) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {obstacle}\n")).into_response()
        }
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    read_gauges(&shared);
    match shared.metrics.encode() {
        Ok(text) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn read_gauges(shared: &Shared) {
    let gauges = shared.metrics.gauges();
    let worker = shared.signer.active();
    let now = shared.clock.now().map_or(0, |now| now.unix_millis());
    shared.metrics.read_last_errors(now / 1000);
    gauges.queue_depth.set(i64::try_from(worker.queue_depth()).unwrap_or(i64::MAX));
    if let Some(log) = shared.snapshot() {
        let head = log.head().event();
        gauges.active_sequence_number.set(head.sequence_number().into());
        gauges.head_age_seconds.set((now - head.created_at().unix_millis()) / 1000);
    }
    if let Some(age) = worker.liveness().last_good() {
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        gauges.last_good_signature_timestamp_seconds.set((now - age) / 1000);
    }
    let database = shared.database();
    gauges.database_connected.set(database.connected.into());
    gauges.lock_held.set(database.lock_held.into());
    gauges.certificate_expiry_timestamp_seconds.set(shared.certificate_expiry() / 1000);
    gauges.ready.set(health::obstacle(shared).is_none().into());
}
