//! The first door: every call gets its id here, a stranger is turned away before anything of its
//! request is read, and what is refused without having reached a handler is recorded.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hsmd_chain::Timestamp;
use http::{HeaderMap, HeaderValue};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::connection::Arrived;
use super::status::denied;
use crate::audit::Record;
use crate::authz::{Denied, Peer};
use crate::daemon::state::Shared;

/// The header of a call's id, in requests and in answers.
pub(super) const REQUEST_ID: &str = "x-request-id";

/// Whom the door asks for their name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// Callers of the service listeners. Health and reflection are open to whoever can connect.
    Callers,
    /// Nobody: each admin call is judged by its own rule.
    Nobody,
}

/// A call's id: the caller's own, or one that the door made.
#[derive(Clone, Debug)]
pub(super) struct RequestId(pub(super) Arc<str>);

/// A call as the door saw it, for a record of its refusal.
#[derive(Debug)]
pub(super) struct Visit {
    shared: Arc<Shared>,
    method: &'static str,
    peer: Arc<Peer>,
    at: Timestamp,
    id: Arc<str>,
}

/// Puts the door before all services of a listener.
#[derive(Clone, Debug)]
pub(super) struct DoorLayer {
    pub(super) shared: Arc<Shared>,
    pub(super) asks: Asks,
}

/// Services behind the door.
#[derive(Clone, Debug)]
pub(super) struct Door<S> {
    inner: S,
    shared: Arc<Shared>,
    asks: Asks,
}

impl<S> Layer<S> for DoorLayer {
    type Service = Door<S>;

    fn layer(&self, inner: S) -> Door<S> {
        Door { inner, shared: Arc::clone(&self.shared), asks: self.asks }
    }
}

impl<S, R> Service<http::Request<R>> for Door<S>
where
    S: Service<http::Request<R>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<R>) -> Self::Future {
        let visit = match Visit::of(&self.shared, &request) {
            Ok(visit) => Arc::new(visit),
            Err(status) => return Box::pin(std::future::ready(Ok(status.into_http()))),
        };
        let asks = self.asks == Asks::Callers && !is_open(request.uri().path());
        let judgement = if asks { visit.judge() } else { Ok(()) };
        let extensions = request.extensions_mut();
        extensions.insert(RequestId(Arc::clone(&visit.id)));
        extensions.insert(Arc::clone(&visit.peer));
        extensions.insert(Arc::clone(&visit));
        let reply = judgement.map(|()| self.inner.call(request));
        Box::pin(async move {
            let mut response = match reply {
                Ok(reply) => reply.await?,
                Err(refusal) => denied(refusal).into_http(),
            };
            // A handler has recorded the call and echoed its id.
            if !response.headers().contains_key(REQUEST_ID) {
                if let Some(status) = Status::from_header_map(response.headers()) {
                    visit.refused(&status).await;
                }
                if let Ok(value) = HeaderValue::from_str(&visit.id) {
                    response.headers_mut().insert(REQUEST_ID, value);
                }
            }
            Ok(response)
        })
    }
}

impl Visit {
    /// Who called, what, and when.
    fn of<R>(shared: &Arc<Shared>, request: &http::Request<R>) -> Result<Self, Status> {
        let arrived = request.extensions().get::<Arrived>();
        let arrived = arrived.ok_or_else(|| Status::internal("the connection has no peer"))?;
        let at = shared.clock.now().map_err(|error| Status::internal(error.to_string()))?;
        Ok(Self {
            shared: Arc::clone(shared),
            method: method(request.uri().path()),
            peer: Arc::clone(&arrived.peer),
            at,
            id: request_id(request.headers()),
        })
    }

    fn judge(&self) -> Result<(), Denied> {
        self.shared.policy.load().known(&self.peer, self.at).map(drop)
    }

    /// Counts and records a refusal that no handler has seen.
    pub(super) async fn refused(&self, status: &Status) {
        if status.code() == Code::Ok {
            return;
        }
        let outcome = format!("{:?}", status.code());
        let caller = self.shared.policy.load().known(&self.peer, self.at).ok();
        let caller = caller.map(|caller| caller.name().to_owned());
        let counted_as = caller.as_deref().unwrap_or("unknown");
        self.shared.metrics.request(self.method, counted_as, outcome.clone());
        let record = Record {
            at: self.at,
            request_id: self.id.to_string(),
            method: self.method,
            peer: self.peer.to_string(),
            caller,
            purpose: None,
            generation: None,
            outcome,
            message: Some(status.message().to_owned()),
        };
        self.shared.audit.write(record).await;
    }
}

/// Whether a path belongs to a service that is open to whoever can connect.
fn is_open(path: &str) -> bool {
    ["/grpc.health.v1.", "/grpc.reflection.v1."].iter().any(|open| path.starts_with(open))
}

/// The method of a path, for labels and records: one of a known set, whatever was asked for.
fn method(path: &str) -> &'static str {
    const METHODS: [&str; 10] = [
        "hsmd.v1.Signer/Endorse",
        "hsmd.v1.Signer/Sign",
        "hsmd.v1.Signer/SignBatch",
        "hsmd.v1.KeyLog/GetHead",
        "hsmd.v1.KeyLog/ListEvents",
        "hsmd.v1.KeyLog/WatchEvents",
        "hsmd.v1.Admin/Status",
        "hsmd.v1.Admin/Rotate",
        "hsmd.v1.Admin/Taint",
        "hsmd.v1.Admin/ListActions",
    ];
    let known = METHODS.into_iter().find(|known| path.strip_prefix('/') == Some(known));
    known.and_then(|known| known.split_once('/')).map_or("other", |(_, method)| method)
}

/// The caller's request id, if it is fit for a log, or one of our own.
fn request_id(headers: &HeaderMap) -> Arc<str> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    headers
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .filter(|id| (1..=64).contains(&id.len()) && id.chars().all(|c| c.is_ascii_graphic()))
        .map_or_else(
            || format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)).into(),
            Arc::from,
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_of_a_known_set() {
        assert_eq!(method("/hsmd.v1.Signer/Sign"), "Sign");
        for other in ["", "/", "/hsmd.v1.Signer/", "hsmd.v1.Signer/Sign", "/hsmd.v1.Signer/sign"] {
            assert_eq!(method(other), "other", "{other}");
        }
    }

    #[test]
    fn ids_are_fit_for_a_log() {
        let with = |id: &'static [u8]| {
            let value = HeaderValue::from_bytes(id).unwrap();
            request_id(&HeaderMap::from_iter([(http::HeaderName::from_static(REQUEST_ID), value)]))
                .to_string()
        };
        assert_eq!(with(b"of-the-caller/7"), "of-the-caller/7");
        let ours = std::process::id().to_string();
        let long: &'static [u8] = &[b'a'; 65];
        for bad in [b"".as_slice(), b"two words", b"a\tb", "ü".as_bytes(), long] {
            assert!(with(bad).starts_with(&ours), "{bad:?}");
        }
    }
}
