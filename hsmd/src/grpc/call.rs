//! One call, from its first look to its record: who called, until when it waits, what came of it.

use std::sync::Arc;
use std::time::Instant;

use hsmd_chain::Timestamp;
use tonic::{Code, Request, Response, Status};
use tracing::Span;

use super::convert;
use super::door::{REQUEST_ID, RequestId};
use super::status::denied;
use super::trace;
use crate::audit::Record;
use crate::authz::{Caller, Denied, Peer};
use crate::config::well_formed;
use crate::daemon::state::Shared;

/// A call that is being answered.
pub(super) struct Call<'a> {
    shared: &'a Shared,
    method: &'static str,
    pub(super) peer: Arc<Peer>,
    pub(super) now: Timestamp,
    pub(super) deadline: Option<Instant>,
    pub(super) request_id: String,
    caller: Option<String>,
    purpose: Option<String>,
    generation: Option<String>,
    /// Whether it is recorded even when it succeeds.
    always: bool,
    pub(super) span: Span,
}

impl<'a> Call<'a> {
    /// Looks at who called and until when.
    pub(super) fn begin<T>(
        shared: &'a Shared,
        method: &'static str,
        request: &Request<T>,
    ) -> Result<Self, Status> {
        let peer = request
            .extensions()
            .get::<Arc<Peer>>()
            .cloned()
            .ok_or_else(|| Status::internal("the connection has no peer"))?;
        let now = shared.clock.now().map_err(|error| Status::internal(error.to_string()))?;
        let id = request.extensions().get::<RequestId>();
        let id = id.ok_or_else(|| Status::internal("the call did not come through the door"))?;
        let request_id = id.0.to_string();
        Ok(Self {
            span: trace::span(method, &request_id, request.metadata()),
            shared,
            method,
            peer,
            now,
            deadline: convert::deadline(request),
            request_id,
            caller: None,
            purpose: None,
            generation: None,
            always: false,
        })
    }

    /// Refuses whoever is no caller at all, before anything of the request is looked at.
    pub(super) fn known(&mut self) -> Result<(), Status> {
        let known = self.shared.policy.load().known(&self.peer, self.now);
        let caller = self.judged(known)?;
        self.by(&caller);
        Ok(())
    }

    /// Turns a judgement into a status.
    pub(super) fn judged<T>(&mut self, judgement: Result<T, Denied>) -> Result<T, Status> {
        judgement.map_err(|refusal| {
            // An admin who is known, but not for this action, has not been named before.
            if let Denied::Action { caller, .. } = &refusal {
                self.caller = Some(caller.clone());
            }
            denied(refusal)
        })
    }

    pub(super) fn by(&mut self, caller: &Caller) {
        self.caller = Some(caller.name().to_owned());
    }

    pub(super) fn for_purpose(&mut self, purpose: &str) {
        // Anything else is a piece of a payload, which no record may hold.
        self.purpose = well_formed(purpose).then(|| purpose.to_owned());
    }

    pub(super) fn signed_by(&mut self, generation: impl ToString) {
        self.generation = Some(generation.to_string());
    }

    pub(super) fn record_always(&mut self) {
        self.always = true;
    }

    /// Counts and records what came of it, and gives the answer the call's id.
    pub(super) async fn end<T>(
        self,
        mut result: Result<Response<T>, Status>,
    ) -> Result<Response<T>, Status> {
        if let Ok(id) = self.request_id.parse() {
            match &mut result {
                Ok(response) => response.metadata_mut().insert(REQUEST_ID, id),
                Err(status) => status.metadata_mut().insert(REQUEST_ID, id),
            };
        }
        let code = result.as_ref().err().map_or(Code::Ok, Status::code);
        let caller = self.caller.as_deref().unwrap_or("unknown");
        self.span.record("caller", caller);
        self.span.record("rpc.grpc.status", tracing::field::debug(code));
        self.shared.metrics.request(self.method, caller, format!("{code:?}"));
        if self.always || code != Code::Ok {
            let record = Record {
                at: self.now,
                request_id: self.request_id,
                method: self.method,
                peer: self.peer.to_string(),
                caller: self.caller,
                purpose: self.purpose,
                generation: self.generation,
                outcome: format!("{code:?}"),
                message: result.as_ref().err().map(|status| status.message().to_owned()),
            };
            self.shared.audit.write(record).await;
        }
        result
    }
}
