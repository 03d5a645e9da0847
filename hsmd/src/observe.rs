//! Metrics and health over HTTP, for Prometheus, for Kubernetes without gRPC probes, and for people.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::health;
use crate::state::Shared;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves until `stop` becomes true.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/health", get(ready))
        .with_state(shared);
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            // An error means that nobody is left to say stop: then it is time, too.
            drop(stop.wait_for(|stop| *stop).await);
        })
        .await
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
    gauges.queue_depth.set(i64::try_from(worker.queue_depth()).unwrap_or(i64::MAX));
    if let Some(log) = shared.snapshot() {
        let head = log.head().event();
        gauges.active_sequence_number.set(head.sequence_number().into());
        gauges.head_age_seconds.set((now - head.created_at().unix_millis()) / 1000);
    }
    if let Some(age) = worker.pulse().last_good() {
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        gauges.last_good_signature_timestamp_seconds.set((now - age) / 1000);
    }
    let database = shared.database();
    gauges.database_connected.set(database.connected.into());
    gauges.lock_held.set(database.lock_held.into());
    gauges.certificate_expiry_timestamp_seconds.set(shared.certificate_expiry() / 1000);
    gauges.ready.set(health::obstacle(shared).is_none().into());
}
