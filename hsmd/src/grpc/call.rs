//! One call, from its first look to its record: who called, until when it waits, what came of it.

use std::sync::Arc;
use std::time::Instant;

use hsmd_chain::Timestamp;
use tonic::{Code, Request, Response, Status};
use tracing::Span;

use super::convert;
use super::status::denied;
use super::trace;
use crate::audit::Record;
use crate::authz::{Caller, Denied, Peer};
use crate::state::Shared;

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
        let request_id = convert::request_id(request);
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
    pub(super) fn judged<T>(&self, judgement: Result<T, Denied>) -> Result<T, Status> {
        judgement.map_err(denied)
    }

    pub(super) fn by(&mut self, caller: &Caller) {
        self.caller = Some(caller.name().to_owned());
    }

    pub(super) fn for_purpose(&mut self, purpose: &str) {
        // What a refused caller sent is bounded before it reaches a record.
        self.purpose = Some(purpose.chars().take(64).collect());
    }

    pub(super) fn signed_by(&mut self, generation: impl ToString) {
        self.generation = Some(generation.to_string());
    }

    pub(super) fn record_always(&mut self) {
        self.always = true;
    }

    /// Counts and records what came of it.
    pub(super) async fn end<T>(
        self,
        result: Result<Response<T>, Status>,
    ) -> Result<Response<T>, Status> {
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
