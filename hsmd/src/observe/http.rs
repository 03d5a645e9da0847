//! Metrics and health over HTTP, for Prometheus, for Kubernetes without gRPC probes, and for people.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use hsmd_runtime::{Health, ServeOptions, metrics_text};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::daemon::health;
use crate::daemon::state::{Phase, Shared};

/// Serves until `stop` becomes true.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>, stop: watch::Receiver<bool>) {
    let of = Arc::clone(&shared);
    // `/live` answers while the process does: that is all that a restart could cure.
    let health = Health::new(move || {
        let obstacle = health::obstacle(&of).map(|it| it.to_string());
        obstacle.or_else(|| health::overload(&of)).into_iter().collect()
    });
    let metrics = async move || {
        read_gauges(&shared);
        metrics_text(shared.metrics.encode())
    };
    let router = Router::new().route("/metrics", get(metrics)).merge(health.routes());
    hsmd_runtime::serve(listener, router, ServeOptions::probes(), stop.into()).await;
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
    let lasting = shared.lasting.borrow().clone();
    let undestroyed = lasting.undestroyed.len();
    gauges.keys_not_destroyed.set(i64::try_from(undestroyed).unwrap_or(i64::MAX));
    gauges.next_key_usable.set(lasting.next_key.is_none().into());
    gauges.event_pending.set(lasting.pending.is_some().into());
    gauges.lock_held.set(database.lock_held.into());
    let owned = shared.signer.release_check().ownership_problem().is_none();
    gauges.token_owned.set((shared.phase() == Phase::Serving && owned).into());
    gauges.standby.set((shared.phase() == Phase::Standby).into());
    gauges.config_current.set(shared.config_problem().is_none().into());
    if let Some(validity) = shared.certificate() {
        gauges.certificate_start_timestamp_seconds.set(validity.start.unix_millis() / 1000);
        gauges.certificate_expiry_timestamp_seconds.set(validity.end.unix_millis() / 1000);
    }
    let ready = health::obstacle(shared).or_else(|| health::overload(shared)).is_none();
    gauges.ready.set(ready.into());
}
