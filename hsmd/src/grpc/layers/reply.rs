//! The way out: what came of a call is counted and recorded here and nowhere else, and a reply with
//! signatures passes the release check at the moment when it is handed to the transport. What a tainted
//! generation signed is dropped there, and recorded as refused.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderValue};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::context::{CallContext, Facts, REQUEST_ID, SignedBodies};
use super::memory::SharedReservation;
use crate::audit::Record;
use crate::daemon::state::Shared;
use crate::grpc::status::not_signed;
use crate::signer::SignError;

/// Counts and records what came of a call, gives the answer the call's id, and watches over its body.
pub fn finish(
    shared: Arc<Shared>,
    context: Arc<CallContext>,
    mut response: http::Response<Body>,
    reservation: Option<SharedReservation>,
) -> http::Response<Body> {
    if let Ok(id) = HeaderValue::from_str(&context.request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let refusal = Status::from_header_map(response.headers());
    let facts = context.take_facts();
    let signed_by = facts.signed_by;
    record(&shared, &context, facts, refusal.as_ref());
    response.map(|inner| {
        Body::new(Reply {
            inner,
            shared,
            context,
            signed_by,
            done: false,
            _reservation: reservation,
        })
    })
}

/// Counts a call and writes its audit records: of each refusal, of admin actions, and of signatures that are
/// recorded, one for each generation and purpose.
fn record(shared: &Shared, context: &CallContext, facts: Facts, refusal: Option<&Status>) {
    let code = refusal.map_or(Code::Ok, Status::code);
    if code == Code::Ok && context.method == "other" {
        return;
    }
    let caller = context.caller_name().unwrap_or("unknown");
    context.span.record("caller", caller);
    context.span.record("rpc.grpc.status", tracing::field::debug(code));
    let outcome = format!("{code:?}");
    shared.metrics.request(context.method, caller, outcome.clone());
    let action = matches!(context.method, "Rotate" | "Taint");
    if code == Code::Ok && !action && facts.signed.is_empty() {
        return;
    }
    let record = Record {
        log: "audit",
        at: context.at,
        request_id: Arc::clone(&context.request_id),
        method: context.method,
        peer: context.peer.to_string(),
        caller: context.caller_name().map(str::to_owned),
        purpose: facts.purpose,
        generation: facts.generation.map(|id| id.to_string()),
        bodies: Vec::new(),
        outcome,
        message: refusal.map(|status| status.message().to_owned()),
        count: None,
    };
    match refusal {
        Some(refusal) => {
            if shared.audit.write_refusal(record) {
                log_refusal(context, caller, refusal);
            }
        }
        None if action => shared.audit.write(record),
        None => {
            for SignedBodies { purpose, generation, bodies } in facts.signed {
                let (purpose, generation) = (Some(purpose), Some(generation.to_string()));
                shared.audit.write(Record { purpose, generation, bodies, ..record.clone() });
            }
        }
    }
}

/// A refusal in full; the audit thread logs how many more there were.
fn log_refusal(context: &CallContext, caller: &str, refusal: &Status) {
    let (method, peer, error) = (context.method, &context.peer, refusal.message());
    let info = refusal.get_details_error_info();
    let reason = info.map(|info| info.reason).unwrap_or_default();
    match refusal.code() {
        Code::PermissionDenied | Code::Unauthenticated | Code::ResourceExhausted => {
            tracing::warn!(method, caller, %peer, reason, error, "call refused");
        }
        _ => tracing::debug!(method, caller, %peer, reason, error, "call refused"),
    }
}

/// A reply's body, which holds the call's bytes until it has been taken.
struct Reply {
    inner: Body,
    shared: Arc<Shared>,
    context: Arc<CallContext>,
    /// With signatures in it: the release check looks whenever a piece of it is handed over.
    signed_by: Option<u32>,
    done: bool,
    _reservation: Option<SharedReservation>,
}

impl HttpBody for Reply {
    type Data = tonic::codegen::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        if self.done {
            return Poll::Ready(None);
        }
        let this = &mut *self;
        let inner = Pin::new(&mut this.inner);
        let Some(signed_by) = this.signed_by else {
            let frame = inner.poll_frame(cx);
            if let Poll::Ready(Some(Ok(frame))) = &frame
                && let Some(trailers) = frame.trailers_ref()
            {
                this.ended(trailers);
            }
            return frame;
        };
        match this.shared.signer.release_check().pass(signed_by, || inner.poll_frame(cx)) {
            Some(frame) => frame,
            None => {
                this.done = true;
                Poll::Ready(Some(Ok(Frame::trailers(this.refuse(signed_by)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.done || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.signed_by.is_some() { SizeHint::default() } else { self.inner.size_hint() }
    }
}

impl Reply {
    /// Records that a stream ended because its caller may not go on.
    fn ended(&self, trailers: &HeaderMap) {
        let status = Status::from_header_map(trailers);
        let refusal = status.filter(|status| {
            matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated)
        });
        if let Some(refusal) = refusal {
            record(&self.shared, &self.context, Facts::default(), Some(&refusal));
        }
    }

    /// The trailers of a reply that may not leave. The signature that was made has been recorded; that
    /// it did not leave is a record of its own, with the same id.
    fn refuse(&self, signed_by: u32) -> HeaderMap {
        let tainted = !self.shared.signer.release_check().admits(signed_by);
        let error = if tainted { SignError::TaintInProgress } else { SignError::LockLost };
        let status = not_signed(&error);
        let mut trailers = HeaderMap::new();
        if let Err(error) = status.add_header(&mut trailers) {
            tracing::error!(%error, "cannot encode a status");
        }
        record(&self.shared, &self.context, Facts::default(), Some(&status));
        trailers
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::path::Path;

    use tower::{Layer, Service};

    use super::*;
    use crate::audit::Audit;
    use crate::authz::{Peer, Policy, UnixPeer};
    use crate::clock::Clock;
    use crate::config::{AuditConfig, AuditSink, Config};
    use crate::grpc::budget::{Budget, CALL, MemoryBudget};
    use crate::grpc::layers::CallLayer;
    use crate::grpc::layers::context::Listener;
    use crate::grpc::transport::ConnectionInfo;
    use crate::signer::{ReleaseCheck, Signer};

    fn shared(audit: &Path) -> Arc<Shared> {
        let example = include_str!("../../../hsmd.example.toml");
        let config = Config::parse(example, Path::new("hsmd.toml")).unwrap();
        let sink = AuditSink::File { file: audit.into(), max_bytes: 1 << 20, keep: 1 };
        let audit = AuditConfig { sink, signatures: false };
        let audit = Audit::start(&audit, Clock::start(), Default::default()).unwrap();
        let signer = Arc::new(Signer::new(Vec::new(), Arc::new(ReleaseCheck::new(None, 0)), 0));
        let policy = Policy::new(&config);
        let clock = Clock::start();
        Arc::new(Shared::new(policy, Arc::default(), audit, clock, signer, config.database))
    }

    /// A call through the layers, answered with what generation 3 has signed.
    async fn answered(shared: &Arc<Shared>, budget: &MemoryBudget) -> http::Response<Body> {
        let signs = tower::service_fn(|request: http::Request<Body>| async move {
            let context = request.extensions().get::<Arc<CallContext>>().unwrap();
            context.note_signed(3);
            Ok::<_, Infallible>(http::Response::new(Body::new("signed".to_owned())))
        });
        let layers = CallLayer { shared: Arc::clone(shared), listener: Listener::Service };
        let peer = UnixPeer { uid: 1001, gids: Vec::new(), pid: None };
        let connection = ConnectionInfo {
            peer: Arc::new(Peer::Unix(peer)),
            known: true,
            old_at: std::time::Instant::now(),
            budget: budget.clone(),
            refusals: Arc::default(),
        };
        let request = http::Request::post("/hsmd.v1.Signer/Endorse")
            .header("x-request-id", "mine")
            .extension(connection)
            .body(Body::empty())
            .unwrap();
        layers.layer(signs).call(request).await.unwrap()
    }

    async fn frame(body: &mut Body) -> Option<Frame<tonic::codegen::Bytes>> {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
        frame.map(|frame| frame.unwrap())
    }

    fn budget() -> MemoryBudget {
        MemoryBudget::new(Arc::new(Budget::uncounted(CALL)), Arc::new(Budget::uncounted(CALL)))
    }

    #[tokio::test]
    async fn what_a_taint_keeps_from_leaving_is_recorded_as_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        let shared = shared(&file);
        let mut body = answered(&shared, &budget()).await.into_body();
        shared.signer.release_check().close_below(4);
        let trailers = frame(&mut body).await.unwrap().into_trailers().unwrap();
        let status = Status::from_header_map(&trailers).unwrap();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(frame(&mut body).await.is_none(), "nothing else leaves");

        let mut text = String::new();
        while !text.ends_with('\n') {
            tokio::task::yield_now().await;
            text = std::fs::read_to_string(&file).unwrap();
        }
        let record: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        for (member, expected) in [
            ("request_id", "mine"),
            ("method", "Endorse"),
            ("caller", "auth"),
            ("outcome", "Unavailable"),
            ("message", status.message()),
        ] {
            assert_eq!(record[member], expected, "{record}");
        }
        let counted = shared.metrics.encode().unwrap();
        let series = r#"hsmd_requests_total{method="Endorse",caller="auth",code="Unavailable"} 1"#;
        assert!(counted.contains(series), "{counted}");
    }

    #[tokio::test]
    async fn a_reply_holds_its_bytes_until_it_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (shared, budget) = (shared(&folder.path().join("audit.jsonl")), budget());
        let mut body = answered(&shared, &budget).await.into_body();
        let refused = answered(&shared, &budget).await;
        let status = Status::from_header_map(refused.headers()).unwrap();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(frame(&mut body).await.unwrap().into_data().unwrap(), "signed");
        assert_eq!(
            Status::from_header_map(answered(&shared, &budget).await.headers()).map(|s| s.code()),
            Some(Code::ResourceExhausted)
        );
        drop(body);
        let answer = answered(&shared, &budget).await;
        assert!(Status::from_header_map(answer.headers()).is_none(), "a reply again");
    }
}
