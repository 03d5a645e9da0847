//! Work that was given up midway, after which a connection of the pool may not be as it should be.

use std::{
    pin::Pin,
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    task::{Context, Poll},
    time::{Duration, Instant},
};

/// How long a connection that is given back is suspect after work was given up. It is given back at once, but
/// others may be waited for.
const SUSPECT: Duration = Duration::from_secs(60);

/// When work was last given up. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct GivenUp {
    began: Instant,
    /// Milliseconds since then; 0 for never.
    last: Arc<AtomicU64>,
}

/// Notes when it is dropped before its work has ended.
pub(super) struct Noting<F> {
    // Dropped before the work, which then gives its connection back.
    notes: Notes,
    work: Pin<Box<F>>,
}

struct Notes {
    given_up: GivenUp,
    ended: bool,
}

impl GivenUp {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), last: Arc::default() }
    }

    /// Whether some was given up of late.
    pub(super) fn lately(&self) -> bool {
        let last = self.last.load(SeqCst);
        last != 0 && self.began.elapsed() < Duration::from_millis(last) + SUSPECT
    }

    pub(super) fn noting<F: Future>(&self, work: F) -> Noting<F> {
        let notes = Notes { given_up: self.clone(), ended: false };
        Noting { notes, work: Box::pin(work) }
    }
}

impl<F: Future> Future for Noting<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let polled = self.work.as_mut().poll(context);
        self.notes.ended = polled.is_ready();
        polled
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        if !self.ended {
            let now = self.given_up.began.elapsed().as_millis();
            self.given_up.last.store(u64::try_from(now).unwrap_or(u64::MAX).max(1), SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn what_is_dropped_midway_is_noted_before_it_gives_back_what_it_holds() {
        struct Holds(GivenUp, Arc<AtomicU64>);
        impl Drop for Holds {
            fn drop(&mut self) {
                self.1.store(u64::from(self.0.lately()), SeqCst);
            }
        }
        let (given_up, seen) = (GivenUp::new(), Arc::new(AtomicU64::new(2)));
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut given_up.noting(async {})).poll(&mut context).is_ready());
        assert!(!given_up.lately());
        let held = Holds(given_up.clone(), Arc::clone(&seen));
        let mut work = given_up.noting(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        assert!(Pin::new(&mut work).poll(&mut context).is_pending());
        drop(work);
        assert_eq!(seen.load(SeqCst), 1);
    }
}
