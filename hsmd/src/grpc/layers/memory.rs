//! The memory layer: a call reserves its bytes before its request is read, and each
//! piece of the request as it arrives. The reservation ends when the reply has been taken.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;

use super::context::Listener;
use crate::grpc::budget::Reservation;
use crate::grpc::status::bytes_in_flight;
use crate::grpc::transport::ConnectionInfo;

/// The bytes of one call, for its two bodies and its service.
pub type SharedReservation = Arc<Mutex<Reservation>>;

/// Reserves what every call takes, and lets the request's body reserve more. An admin's calls are few and
/// small: they reserve nothing, so that nothing keeps them out.
pub fn reserve(
    listener: Listener,
    mut request: http::Request<Body>,
) -> Result<(http::Request<Body>, Option<SharedReservation>), Status> {
    let connection = request.extensions().get::<ConnectionInfo>();
    let connection = connection.ok_or_else(|| Status::internal("the connection has no budget"))?;
    if listener == Listener::Admin && connection.known {
        return Ok((request, None));
    }
    let reservation = connection.budget.reserve().map_err(|error| {
        connection.refusals.count();
        bytes_in_flight(&error)
    })?;
    let reservation = Arc::new(Mutex::new(reservation));
    request.extensions_mut().insert(Arc::clone(&reservation));
    let counting = Arc::clone(&reservation);
    let request = request.map(|inner| Body::new(Counted { inner, reservation: counting }));
    Ok((request, Some(reservation)))
}

/// A request's body, whose bytes are counted as they arrive.
struct Counted {
    inner: Body,
    reservation: SharedReservation,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(cx)) else {
            return Poll::Ready(None);
        };
        let counted = frame.and_then(|frame| {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.reservation.lock().add(bytes).map_err(|error| bytes_in_flight(&error))?;
            Ok(frame)
        });
        Poll::Ready(Some(counted))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
