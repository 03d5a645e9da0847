//! The bytes of calls in flight, in all and of one origin: from a call's first byte until its answer has
//! been taken. Connections times streams times the largest message would be terabytes.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;

use super::status::bytes_in_flight;

/// What every call takes for itself, whatever its message: its task, its buffers, a watcher's events.
pub(super) const CALL: usize = 16 * 1024;

/// A number of bytes that can be taken and given back.
#[derive(Debug)]
pub(super) struct Purse {
    most: usize,
    taken: AtomicUsize,
}

/// What calls of one connection take from.
#[derive(Clone, Debug)]
pub(super) struct Share {
    all: Arc<Purse>,
    own: Arc<Purse>,
}

/// The bytes of one call, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    share: Share,
    bytes: usize,
}

/// There are not so many bytes left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Exhausted {
    /// The caller has them all.
    #[error("the caller's calls in flight hold all of the {0} bytes that it may have")]
    Own(usize),
    /// All callers together do.
    #[error("all calls in flight hold all of the {0} bytes that there are for them")]
    All(usize),
}

/// The bytes of one call, for its two bodies and its handler.
pub(super) type Account = Arc<Mutex<Taken>>;

impl Purse {
    pub(super) fn new(most: usize) -> Self {
        Self { most, taken: AtomicUsize::new(0) }
    }

    fn take(&self, bytes: usize) -> bool {
        let sum = |taken: usize| taken.checked_add(bytes).filter(|sum| *sum <= self.most);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, sum).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::AcqRel);
    }
}

impl Share {
    pub(super) fn new(all: Arc<Purse>, own: Arc<Purse>) -> Self {
        Self { all, own }
    }

    /// Takes what every call takes.
    pub(super) fn begin(&self) -> Result<Taken, Exhausted> {
        let mut taken = Taken { share: self.clone(), bytes: 0 };
        taken.take(CALL)?;
        Ok(taken)
    }
}

impl Taken {
    /// Takes more.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let Share { all, own } = &self.share;
        if !own.take(bytes) {
            return Err(Exhausted::Own(own.most));
        }
        if !all.take(bytes) {
            own.give_back(bytes);
            return Err(Exhausted::All(all.most));
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.share.all.give_back(self.bytes);
        self.share.own.give_back(self.bytes);
    }
}

/// A request's body, whose bytes are counted as they arrive.
pub(super) struct Counted {
    pub(super) inner: Body,
    pub(super) account: Account,
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
            self.account.lock().take(bytes).map_err(|error| bytes_in_flight(&error))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_comes_back() {
        let share = Share::new(Arc::new(Purse::new(5 * CALL)), Arc::new(Purse::new(3 * CALL)));
        let mut call = share.begin().unwrap();
        call.take(CALL).unwrap();
        let other = share.begin().unwrap();
        assert_eq!(call.take(1), Err(Exhausted::Own(3 * CALL)));
        assert_eq!(share.begin().unwrap_err(), Exhausted::Own(3 * CALL));
        let elsewhere = Share { own: Arc::new(Purse::new(usize::MAX)), ..share.clone() };
        let mut much = elsewhere.begin().unwrap();
        assert_eq!(much.take(2 * CALL), Err(Exhausted::All(5 * CALL)));
        assert_eq!(much.take(usize::MAX), Err(Exhausted::Own(usize::MAX)));
        drop((call, other));
        much.take(2 * CALL).unwrap();
        drop(much);
        assert_eq!(share.all.taken.load(Ordering::Relaxed), 0);
        assert_eq!(share.own.taken.load(Ordering::Relaxed), 0);
    }
}
