//! The last door: a reply that carries signatures asks the gate once more at the moment when it is
//! handed to the transport. What a tainted generation signed is dropped there.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::body::Body;
use tonic::{Response, Status};
use tower::{Layer, Service};

use super::status::not_signed;
use crate::signer::{Gate, SignError};

/// The oldest generation that signed what a reply carries.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeavesAs(pub(super) u32);

impl LeavesAs {
    /// A reply that the gate will look at.
    pub(super) fn tag<T>(self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        response.extensions_mut().insert(self);
        response
    }
}

/// Puts the gate before the transport.
#[derive(Clone, Debug)]
pub(super) struct GateLayer {
    pub(super) gate: Arc<Gate>,
}

/// A service behind the gate.
#[derive(Clone, Debug)]
pub(super) struct Gated<S> {
    inner: S,
    gate: Arc<Gate>,
}

impl<S> Layer<S> for GateLayer {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { inner, gate: Arc::clone(&self.gate) }
    }
}

impl<S, R> Service<http::Request<R>> for Gated<S>
where
    S: Service<http::Request<R>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<R>) -> Self::Future {
        let gate = Arc::clone(&self.gate);
        let reply = self.inner.call(request);
        Box::pin(async move {
            let mut response = reply.await?;
            Ok(match response.extensions_mut().remove::<LeavesAs>() {
                None => response,
                Some(leaves_as) => response
                    .map(|inner| Body::new(GatedBody { inner, gate, leaves_as, done: false })),
            })
        })
    }
}

/// A body that the gate looks at whenever a piece of it is handed over.
struct GatedBody {
    inner: Body,
    gate: Arc<Gate>,
    leaves_as: LeavesAs,
    done: bool,
}

impl HttpBody for GatedBody {
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
        match this.gate.pass(this.leaves_as.0, || inner.poll_frame(cx)) {
            Some(frame) => frame,
            None => {
                this.done = true;
                Poll::Ready(Some(Ok(Frame::trailers(refusal()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.done || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// The trailers of a reply that may not leave.
fn refusal() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if let Err(error) = not_signed(&SignError::TaintInProgress).add_header(&mut trailers) {
        tracing::error!(%error, "cannot encode a status");
    }
    trailers
}
