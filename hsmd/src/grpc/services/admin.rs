//! `hsmd.v1.Admin`: status, rotate, taint.

use std::sync::Arc;

use hsmd_proto::v1;
use hsmd_proto::v1::admin_server::Admin;
use tonic::{Request, Response, Status};

use crate::authz::AdminPermit;
use crate::config::AdminAction;
use crate::daemon::health;
use crate::daemon::state::{Phase, Shared};
use crate::grpc::convert;
use crate::grpc::layers::context::CallContext;
use crate::grpc::status::{database_unavailable, not_rotated, not_serving};
use crate::keylog::{KeylogError, Reader};
use crate::rotation;

/// The service.
#[derive(Debug)]
pub struct AdminService {
    pub shared: Arc<Shared>,
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn status(
        &self,
        _request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        Ok(Response::new(self.describe()))
    }

    async fn rotate(
        &self,
        request: Request<v1::RotateRequest>,
    ) -> Result<Response<v1::RotateResponse>, Status> {
        let call = AdminCall::of(&request)?;
        let v1::RotateRequest { expected_generation_id, reason } = request.into_inner();
        let outcome = self.advance(call, &expected_generation_id, &reason).await?;
        Ok(Response::new(v1::RotateResponse {
            sequence_number: outcome.event.event().sequence_number(),
            event: Some(convert::event(&outcome.event)),
            performed: outcome.performed,
        }))
    }

    async fn taint(
        &self,
        request: Request<v1::TaintRequest>,
    ) -> Result<Response<v1::TaintResponse>, Status> {
        let call = AdminCall::of(&request)?;
        let v1::TaintRequest { expected_generation_id, reason } = request.into_inner();
        let outcome = self.advance(call, &expected_generation_id, &reason).await?;
        Ok(Response::new(v1::TaintResponse {
            sequence_number: outcome.event.event().sequence_number(),
            event: Some(convert::event(&outcome.event)),
            performed: outcome.performed,
            key_destroyed: outcome.key_destroyed,
            pending: outcome.pending,
        }))
    }

    /// Reads records on a connection of its own: seldom asked for, and never in a rotation's way.
    async fn list_actions(
        &self,
        request: Request<v1::ListActionsRequest>,
    ) -> Result<Response<v1::ListActionsResponse>, Status> {
        let v1::ListActionsRequest { from_number, page_size } = request.into_inner();
        let from = (from_number > 0).then_some(from_number);
        let count = if page_size == 0 { 100 } else { page_size.min(1000) };
        let unavailable = |error: KeylogError| database_unavailable(&error);
        let mut reader =
            Reader::connect(&self.shared.database_config).await.map_err(unavailable)?;
        let rows = reader.read_actions(from, count).await.map_err(unavailable)?;
        let log = self.shared.snapshot();
        let records = rows.into_iter().map(|row| convert::action(row, log.as_ref())).collect();
        Ok(Response::new(v1::ListActionsResponse { records }))
    }
}

/// An admin request with the permit that the authorization layer gave.
struct AdminCall {
    context: Arc<CallContext>,
    permit: Arc<AdminPermit>,
}

impl AdminCall {
    fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let permit = request.extensions().get::<Arc<AdminPermit>>().cloned();
        let permit = permit.ok_or_else(|| Status::internal("the call has no permit"))?;
        Ok(Self { context: CallContext::of(request)?, permit })
    }
}

impl AdminService {
    /// Rotates or taints in a task of its own: a caller who leaves does not split it.
    async fn advance(
        &self,
        AdminCall { context, permit }: AdminCall,
        expected: &str,
        reason: &str,
    ) -> Result<rotation::Outcome, Status> {
        let request = rotation::Request {
            taint: permit.action() == AdminAction::Taint,
            expected: convert::expected_generation(expected)?,
            reason: convert::reason(reason)?,
            request_id: context.request_id.to_string(),
        };
        let phase = self.shared.phase();
        // A taint needs the token alone: a start that waits for the database makes it, where it may.
        let may_begin = match &phase {
            Phase::Serving => true,
            Phase::Starting(_) => request.taint,
            Phase::Standby | Phase::Stopping => false,
        };
        if !may_begin {
            return Err(not_serving(&phase));
        }
        let core = Arc::clone(&self.shared.core);
        let taint = request.taint.then(|| self.shared.taints.arrive());
        let task = tokio::spawn(async move {
            let mut core = core.lock().await;
            if let Some(taint) = &taint {
                taint.begin();
            }
            match core.as_mut() {
                Some(core) => {
                    core.advance(&permit, request).await.map_err(|error| not_rotated(&error))
                }
                None => Err(not_serving(&phase)),
            }
        });
        let outcome = task
            .await
            .unwrap_or_else(|_| Err(Status::internal("internal error; see the daemon's log")))?;
        context.note_generation(outcome.event.event().id());
        Ok(outcome)
    }

    fn describe(&self) -> v1::StatusResponse {
        let shared = &self.shared;
        let log = shared.snapshot();
        let obstacle = health::obstacle(shared);
        let database = shared.database();
        let mut problems = shared.problems();
        let phase = shared.phase();
        let state = match &phase {
            Phase::Starting(what) => {
                problems.push(what.clone());
                if !database.problem.is_empty() {
                    problems.push(format!("database: {}", database.problem));
                }
                v1::ServingState::Starting
            }
            Phase::Standby => v1::ServingState::Standby,
            Phase::Stopping => v1::ServingState::Stopping,
            Phase::Serving => {
                problems.extend(obstacle.clone());
                problems.extend(shared.signer.release_check().ownership_problems_elsewhere());
                problems.extend(health::overload(shared));
                problems.extend(expired_certificate(shared));
                let lost = shared.metrics.audit().problem();
                problems.extend(lost.map(|error| format!("audit records are lost: {error}")));
                if !database.problem.is_empty() {
                    problems.push(format!("database: {}", database.problem));
                }
                if problems.is_empty() {
                    v1::ServingState::Serving
                } else {
                    v1::ServingState::Degraded
                }
            }
        };
        let worker = shared.signer.active();
        let head = log.as_ref().map(|log| log.head());
        let signs = phase == Phase::Serving && obstacle.is_none();
        v1::StatusResponse {
            identity: log.as_ref().map(|log| log.identity().to_string()).unwrap_or_default(),
            state: state.into(),
            problems,
            head: head.map(|head| convert::event(head)),
            head_sequence_number: head.map_or(0, |head| head.event().sequence_number()),
            active_generation_id: head
                .filter(|_| signs)
                .map(|head| head.event().id().to_string())
                .unwrap_or_default(),
            tokens: shared.signer.workers().iter().map(token_status).collect(),
            database: Some(v1::DatabaseStatus {
                connected: database.connected,
                lock_held: database.lock_held,
                problem: database.problem,
            }),
            queue_depth: worker.queue_depth() as u32,
            last_signature_age_ms: worker.liveness().last_good().map(|age| age.as_millis() as u64),
            uptime_seconds: shared.clock.uptime().as_secs(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

fn expired_certificate(shared: &Shared) -> Option<String> {
    let expiry = shared.certificate()?.end;
    let expired = shared.clock.now().is_ok_and(|now| now > expiry);
    expired.then(|| format!("the TLS certificate ended at {expiry}: callers refuse it"))
}

fn token_status(worker: &crate::signer::TokenWorker) -> v1::TokenStatus {
    let report = worker.report();
    v1::TokenStatus {
        label: worker.config().name().to_owned(),
        serial: report.serial,
        ready: report.ready,
        problem: report.problem,
        no_journal_copy: report.no_journal_copy.unwrap_or_default(),
    }
}
