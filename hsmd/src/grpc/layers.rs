//! What every call passes before it reaches its service, in this order, and its reply on the way back:
//!
//! 1. [`context`]: the call context is made, once: peer, caller, deadline, request id.
//! 2. [`authorization`]: a call that its caller may not make ends here, before its request is read.
//! 3. [`memory`]: the call reserves its bytes.
//! 4. [`reply`]: what came of it is recorded; signatures pass the release check piece by piece.

pub mod authorization;
pub mod context;
pub mod memory;
pub mod reply;
mod trace;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tonic::body::Body;
use tower::{Layer, Service};
use tracing::Instrument;

use crate::daemon::state::Shared;
use context::{CallContext, Listener};

/// Puts the layers before all services of a listener.
#[derive(Clone, Debug)]
pub struct CallLayer {
    pub shared: Arc<Shared>,
    pub listener: Listener,
}

/// The services of a listener behind the layers.
#[derive(Clone, Debug)]
pub struct Layered<S> {
    inner: S,
    shared: Arc<Shared>,
    listener: Listener,
}

impl<S> Layer<S> for CallLayer {
    type Service = Layered<S>;

    fn layer(&self, inner: S) -> Layered<S> {
        Layered { inner, shared: Arc::clone(&self.shared), listener: self.listener }
    }
}

impl<S> Service<http::Request<Body>> for Layered<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let context = match CallContext::new(&self.shared, self.listener, &request) {
            Ok(context) => Arc::new(context),
            Err(status) => return Box::pin(std::future::ready(Ok(status.into_http()))),
        };
        request.extensions_mut().insert(Arc::clone(&context));
        let admitted = authorization::authorize(&self.shared, &context, &mut request)
            .and_then(|()| memory::reserve(self.listener, request));
        let reply = admitted.map(|(request, reservation)| {
            (self.inner.call(request).instrument(context.span.clone()), reservation)
        });
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let (response, reservation) = match reply {
                Ok((response, reservation)) => (response.await?, reservation),
                Err(status) => (status.into_http(), None),
            };
            Ok(reply::finish(shared, context, response, reservation))
        })
    }
}
