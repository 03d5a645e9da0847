//! The last door: a reply that carries signatures asks the release check once more at the moment when it is
//! handed to the transport. What a tainted generation signed is dropped there, and recorded as refused.
//! Here, too, a call takes its bytes, and gives them back when its reply has been taken.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tonic::body::Body;
use tonic::{Response, Status};
use tower::{Layer, Service};

use super::connection::Arrived;
use super::door::Visit;
use super::share::{Account, Counted};
use super::status::{bytes_in_flight, not_signed};
use crate::signer::{ReleaseCheck, SignError};

/// The oldest generation that signed what a reply carries.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeavesAs(pub(super) u32);

impl LeavesAs {
    /// A reply that the release check will look at.
    pub(super) fn tag<T>(self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        response.extensions_mut().insert(self);
        response
    }
}

/// Puts the release check before the transport.
#[derive(Clone, Debug)]
pub(super) struct GateLayer {
    pub(super) release_check: Arc<ReleaseCheck>,
}

/// A service behind the release check.
#[derive(Clone, Debug)]
pub(super) struct Gated<S> {
    inner: S,
    release_check: Arc<ReleaseCheck>,
}

impl<S> Layer<S> for GateLayer {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { inner, release_check: Arc::clone(&self.release_check) }
    }
}

impl<S> Service<http::Request<Body>> for Gated<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let (account, visit) = match admit(&request) {
            Ok(admitted) => admitted,
            Err(status) => return Box::pin(std::future::ready(Ok(status.into_http()))),
        };
        request.extensions_mut().insert(Arc::clone(&account));
        let counting = Arc::clone(&account);
        let request = request.map(|inner| Body::new(Counted { inner, account: counting }));
        let release_check = Arc::clone(&self.release_check);
        let reply = self.inner.call(request);
        Box::pin(async move {
            let mut response = reply.await?;
            let seal = response.extensions_mut().remove::<LeavesAs>();
            let seal = seal.map(|leaves_as| Seal { release_check, leaves_as, visit });
            Ok(response
                .map(|inner| Body::new(Reply { inner, seal, done: false, _account: account })))
        })
    }
}

/// The call's bytes and what the door saw of it.
fn admit(request: &http::Request<Body>) -> Result<(Account, Arc<Visit>), Status> {
    let extensions = request.extensions();
    let strange = || Status::internal("the call did not come through the door");
    let visit = extensions.get::<Arc<Visit>>().ok_or_else(strange)?;
    let share = &extensions.get::<Arrived>().ok_or_else(strange)?.share;
    let taken = share.begin().map_err(|error| bytes_in_flight(&error))?;
    Ok((Arc::new(Mutex::new(taken)), Arc::clone(visit)))
}

/// A reply's body, which holds the call's bytes until it has been taken.
struct Reply {
    inner: Body,
    /// With signatures in it: the release check looks whenever a piece of it is handed over.
    seal: Option<Seal>,
    done: bool,
    _account: Account,
}

/// What keeps a reply from leaving.
struct Seal {
    release_check: Arc<ReleaseCheck>,
    leaves_as: LeavesAs,
    visit: Arc<Visit>,
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
        let Some(seal) = &this.seal else { return inner.poll_frame(cx) };
        match seal.release_check.pass(seal.leaves_as.0, || inner.poll_frame(cx)) {
            Some(frame) => frame,
            None => {
                this.done = true;
                Poll::Ready(Some(Ok(Frame::trailers(seal.refuse()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.done || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.seal.is_some() { SizeHint::default() } else { self.inner.size_hint() }
    }
}

impl Seal {
    /// The trailers of a reply that may not leave. Its handler has recorded the signature that was
    /// made; that nobody got it is a record of its own, with the same id.
    fn refuse(&self) -> HeaderMap {
        let tainted = !self.release_check.admits(self.leaves_as.0);
        let error = if tainted { SignError::TaintInProgress } else { SignError::LockLost };
        let status = not_signed(&error);
        let mut trailers = HeaderMap::new();
        if let Err(error) = status.add_header(&mut trailers) {
            tracing::error!(%error, "cannot encode a status");
        }
        let visit = Arc::clone(&self.visit);
        tokio::spawn(async move { visit.refused(&status).await });
        trailers
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::path::Path;

    use super::*;
    use crate::audit::Audit;
    use crate::authz::{Peer, Policy, UnixPeer};
    use crate::clock::Clock;
    use crate::config::{AuditConfig, Config};
    use crate::daemon::state::Shared;
    use crate::grpc::door::{Asks, DoorLayer};
    use crate::grpc::share::{CALL, Purse, Share};
    use crate::signer::Signer;

    fn shared(audit: &Path) -> Arc<Shared> {
        let example = include_str!("../../hsmd.example.toml");
        let config = Config::parse(example, Path::new("hsmd.toml")).unwrap();
        let audit = AuditConfig::File { file: audit.into(), max_bytes: 1 << 20, keep: 1 };
        let audit = Audit::start(&audit).unwrap();
        let signer = Arc::new(Signer::new(Vec::new(), Arc::new(ReleaseCheck::new(None))));
        let policy = Policy::new(&config);
        let clock = Clock::start();
        Arc::new(Shared::new(policy, Arc::default(), audit, clock, signer, config.database))
    }

    /// A call through both doors, answered with what generation 3 has signed.
    async fn answered(shared: &Arc<Shared>, share: &Share) -> http::Response<Body> {
        let signs = tower::service_fn(|_request: http::Request<Body>| async {
            let mut response = http::Response::new(Body::new("signed".to_owned()));
            response.extensions_mut().insert(LeavesAs(3));
            Ok::<_, Infallible>(response)
        });
        let release_check = GateLayer { release_check: Arc::clone(shared.signer.release_check()) };
        let door = DoorLayer { shared: Arc::clone(shared), asks: Asks::Callers };
        let peer = UnixPeer { uid: 1001, gids: Vec::new(), pid: None };
        let arrived = Arrived { peer: Arc::new(Peer::Unix(peer)), share: share.clone() };
        let request = http::Request::post("/hsmd.v1.Signer/Endorse")
            .header("x-request-id", "mine")
            .extension(arrived)
            .body(Body::empty())
            .unwrap();
        door.layer(release_check.layer(signs)).call(request).await.unwrap()
    }

    async fn frame(body: &mut Body) -> Option<Frame<tonic::codegen::Bytes>> {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
        frame.map(|frame| frame.unwrap())
    }

    fn share() -> Share {
        Share::new(Arc::new(Purse::new(CALL)), Arc::new(Purse::new(CALL)))
    }

    #[tokio::test]
    async fn what_a_taint_keeps_from_leaving_is_recorded_as_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        let shared = shared(&file);
        let mut body = answered(&shared, &share()).await.into_body();
        shared.signer.release_check().close_below(4);
        let trailers = frame(&mut body).await.unwrap().into_trailers().unwrap();
        let status = Status::from_header_map(&trailers).unwrap();
        assert_eq!(status.code(), tonic::Code::Unavailable);
        assert!(frame(&mut body).await.is_none(), "nothing else leaves");

        let mut text = String::new();
        while text.is_empty() {
            tokio::task::yield_now().await;
            text = std::fs::read_to_string(&file).unwrap();
        }
        let record: serde_json::Value = serde_json::from_str(&text).unwrap();
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
        let (shared, share) = (shared(&folder.path().join("audit.jsonl")), share());
        let mut body = answered(&shared, &share).await.into_body();
        let refused = answered(&shared, &share).await;
        let status = Status::from_header_map(refused.headers()).unwrap();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert_eq!(frame(&mut body).await.unwrap().into_data().unwrap(), "signed");
        assert_eq!(
            Status::from_header_map(answered(&shared, &share).await.headers()).map(|s| s.code()),
            Some(tonic::Code::ResourceExhausted)
        );
        drop(body);
        let answer = answered(&shared, &share).await;
        assert!(Status::from_header_map(answer.headers()).is_none(), "a reply again");
    }
}
