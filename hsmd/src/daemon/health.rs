//! Truthful health: whether a signature can be had now, shown by one that was made, and reported by the
//! standard gRPC health service.

use std::sync::Arc;
use std::time::Duration;

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::daemon::head_statement::HeadStatements;
use crate::daemon::state::{Phase, Shared};

const PERIOD: Duration = Duration::from_millis(100);

/// A signature that takes longer than this is no service.
const SIGN_BOUND: Duration = Duration::from_millis(800);

/// For how long a refusal by a limit counts as overload.
const OVERLOAD_MEMORY: Duration = Duration::from_secs(1);

/// Other work on the token (key generation, opening) may take longer.
const WORK_BOUND: Duration = Duration::from_secs(10);

/// Why nothing can be signed now; `None` when it can.
pub fn obstacle(shared: &Shared) -> Option<String> {
    match shared.phase() {
        Phase::Serving => {}
        Phase::Starting(what) => return Some(what),
        Phase::Standby => return Some("standby: another hsmd serves".into()),
        Phase::Stopping => return Some("stopping".into()),
    }
    let worker = shared.signer.active();
    let (report, liveness) = (worker.report(), worker.liveness());
    let release_check = shared.signer.release_check();
    if let Some(against) = release_check.stands_against() {
        return Some(against);
    }
    if !release_check.holds_lock() {
        return Some("the writer lock can't be proved".into());
    }
    if worker.is_held() {
        return Some("a taint is in progress".into());
    }
    if !report.ready {
        return Some(format!("token {}: {}", worker.config().name(), report.problem));
    }
    if liveness.signing_for().is_some_and(|time| time >= SIGN_BOUND) {
        let name = worker.config().name();
        return Some(format!("token {name}: a signature has been running for more than 800 ms"));
    }
    if liveness.working_for().is_some_and(|time| time >= WORK_BOUND) {
        let name = worker.config().name();
        return Some(format!("token {name}: a call has been running for more than 10 s"));
    }
    if let Some(problem) = release_check.ownership_problem() {
        return Some(problem);
    }
    let stale = worker.config().health_interval + Duration::from_secs(1);
    match liveness.last_good() {
        Some(age) if age <= stale => None,
        _ if liveness.working_for().is_some() => None,
        Some(age) => Some(format!("the last good signature was made {} ms ago", age.as_millis())),
        None => Some("no signature has been made yet".into()),
    }
}

/// Which limit of the callers refuses calls or connections now; `None` when none does.
pub fn overload(shared: &Shared) -> Option<String> {
    let limits = shared.metrics.limits();
    let limits =
        [("bytes_in_flight", &limits.bytes_in_flight), ("connections", &limits.connections)];
    let used_up = limits.into_iter().find(|(_, limit)| limit.refused_within(OVERLOAD_MEMORY));
    used_up.map(|(name, _)| format!("limits.{name} is used up: calls are being refused"))
}

/// To be called before the listeners accept: the health service itself begins with "serving".
pub async fn not_yet(reporters: [&HealthReporter; 2]) {
    for reporter in reporters {
        reporter.set_service_status("", ServingStatus::NotServing).await;
    }
}

/// Keeps the health service truthful until dropped, and has head statements made.
pub async fn run(shared: Arc<Shared>, service: HealthReporter, admin: HealthReporter) {
    let mut statements = HeadStatements::new(Arc::clone(&shared));
    let mut reported: Option<(ServingStatus, ServingStatus)> = None;
    loop {
        let status = |good| if good { ServingStatus::Serving } else { ServingStatus::NotServing };
        let obstacle = obstacle(&shared).or_else(|| overload(&shared));
        let shows_log = shared.log.borrow().is_some() && shared.withholds_log().is_none();
        let now = (status(obstacle.is_none()), status(shows_log));
        if reported.as_ref().map(|reported| (reported.0 as u8, reported.1 as u8))
            != Some((now.0 as u8, now.1 as u8))
        {
            match &obstacle {
                None => tracing::info!("health check passing"),
                Some(obstacle) => tracing::warn!(obstacle, "health check failing"),
            }
            for name in ["", "hsmd.v1.Signer"] {
                service.set_service_status(name, now.0).await;
            }
            service.set_service_status("hsmd.v1.KeyLog", now.1).await;
            admin.set_service_status("", now.0).await;
            admin.set_service_status("hsmd.v1.Admin", ServingStatus::Serving).await;
            reported = Some(now);
        }
        statements.ask_if_due(PERIOD);
        tokio::time::sleep(PERIOD).await;
    }
}
