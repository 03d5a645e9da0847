//! The queue before a token: admin work first, then signing requests in their order, bounded.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::busy_poll::Changed;
use super::{Document, SignError, Signed, TokenState};

/// How long signing requests may wait for a taint to end before they are refused.
const HOLD_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the token stays free for the next piece of admin work after one: without it, a rotation of
/// several pieces would wait for a whole signature of a slow device before each. It covers a COMMIT, so
/// that a rotation waits once; a database that takes longer does not stop signing.
const ADMIN_RESERVATION: Duration = Duration::from_millis(50);

/// A piece of admin work for the token's thread.
pub(super) type Work = Box<dyn FnOnce(&mut TokenState) + Send>;

/// What a caller waits for.
#[derive(Debug)]
pub(super) enum Job {
    /// One document.
    One { document: Document, reply: oneshot::Sender<Result<Signed, SignError>> },
    /// Several: each pass through the thread signs one, so that other callers' requests are signed in
    /// between.
    Batch {
        rest: std::vec::IntoIter<Document>,
        signed: Vec<Signed>,
        reply: oneshot::Sender<Result<Vec<Signed>, SignError>>,
    },
}

/// A job in the queue.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) job: Job,
    deadline: Option<Instant>,
    since: Instant,
}

impl Queued {
    pub(super) fn new(job: Job, deadline: Option<Instant>) -> Self {
        Self { job, deadline, since: Instant::now() }
    }

    /// Whether its caller has left.
    pub(super) fn is_given_up(&self) -> bool {
        match &self.job {
            Job::One { reply, .. } => reply.is_closed(),
            Job::Batch { reply, .. } => reply.is_closed(),
        }
    }

    /// How long it has waited, for a batch since its last signature.
    pub(super) fn waited(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    pub(super) fn is_expired(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    pub(super) fn refuse(self, error: SignError) {
        // The send fails when the caller has left, who needs no answer then.
        match self.job {
            Job::One { reply, .. } => drop(reply.send(Err(error))),
            Job::Batch { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

/// What the thread does next.
pub(super) enum Next {
    /// Admin work.
    Work(Work),
    /// Sign.
    Sign(Queued),
    /// Refuse a request that has waited too long.
    Refuse(Queued, SignError),
    /// Nothing came: maintain the session.
    Idle,
    /// Everything accepted is done and no more will come.
    Stop,
}

#[derive(Default)]
struct State {
    work: VecDeque<Work>,
    jobs: VecDeque<Queued>,
    held: bool,
    stopping: bool,
    /// Until when signing requests wait for the next piece of admin work.
    reserved_until: Option<Instant>,
}

impl State {
    /// How long signing requests still wait for the next piece of admin work.
    fn reserved(&self) -> Option<Duration> {
        self.reserved_until?.checked_duration_since(Instant::now()).filter(|time| !time.is_zero())
    }
}

/// The queue of one token.
pub(super) struct TokenQueue {
    state: Mutex<State>,
    wakeup: Condvar,
    changed: Changed,
    capacity: usize,
}

impl TokenQueue {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::default(),
            wakeup: Condvar::new(),
            changed: Changed::default(),
            capacity,
        }
    }

    /// Queues a job; whether it is the only one.
    pub(super) fn submit(&self, job: Queued) -> Result<bool, SignError> {
        let mut state = self.state.lock();
        if state.stopping {
            return Err(SignError::NotActive("the daemon is stopping"));
        }
        if state.jobs.len() >= self.capacity {
            return Err(SignError::QueueFull(self.capacity));
        }
        let alone = state.jobs.is_empty() && !state.held;
        state.jobs.push_back(job);
        drop(state);
        self.notify();
        Ok(alone)
    }

    fn notify(&self) {
        self.changed.set();
        self.wakeup.notify_one();
    }

    /// Polls for something to do, for a while; see [`busy_poll`](super::busy_poll).
    pub(super) fn poll(&self) {
        self.changed.reset();
        let state = self.state.lock();
        if state.jobs.is_empty() && state.work.is_empty() && !state.stopping {
            drop(state);
            self.changed.poll();
        }
    }

    /// Puts work before everything but earlier work; false when the thread has stopped.
    pub(super) fn put(&self, work: Work) -> bool {
        let mut state = self.state.lock();
        if state.stopping {
            return false;
        }
        state.work.push_back(work);
        drop(state);
        self.notify();
        true
    }

    /// Keeps the token free for a while: another piece of admin work may follow the one that has just
    /// ended.
    pub(super) fn reserve(&self) {
        self.state.lock().reserved_until = Some(Instant::now() + ADMIN_RESERVATION);
    }

    /// Ends a reservation: no more admin work follows.
    pub(super) fn release(&self) {
        self.state.lock().reserved_until = None;
        self.notify();
    }

    /// Puts a batch behind the jobs that wait.
    pub(super) fn put_back(&self, mut job: Queued) {
        job.since = Instant::now();
        self.state.lock().jobs.push_back(job);
    }

    /// Holds signing requests back, or lets them go on.
    pub(super) fn hold(&self, held: bool) {
        self.state.lock().held = held;
        self.notify();
    }

    pub(super) fn is_held(&self) -> bool {
        self.state.lock().held
    }

    pub(super) fn depth(&self) -> usize {
        self.state.lock().jobs.len()
    }

    pub(super) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopping = true;
        state.held = false;
        drop(state);
        self.notify();
    }

    /// The next signing request, when nothing else is to be done before it and nothing to wait for.
    pub(super) fn next_queued(&self) -> Option<Queued> {
        let mut state = self.state.lock();
        let may_sign = state.work.is_empty() && !state.held && state.reserved().is_none();
        if may_sign { state.jobs.pop_front() } else { None }
    }

    /// Waits for something to do, at most for `timeout`.
    pub(super) fn next(&self, timeout: Duration) -> Next {
        let mut state = self.state.lock();
        loop {
            if let Some(work) = state.work.pop_front() {
                return Next::Work(work);
            }
            if let Some(time) = state.reserved()
                && !state.stopping
            {
                self.wakeup.wait_for(&mut state, time);
                continue;
            }
            if !state.held {
                if let Some(job) = state.jobs.pop_front() {
                    return Next::Sign(job);
                }
                if state.stopping {
                    return Next::Stop;
                }
            } else if state.jobs.front().is_some_and(|job| job.since.elapsed() > HOLD_TIMEOUT)
                && let Some(job) = state.jobs.pop_front()
            {
                return Next::Refuse(job, SignError::TaintInProgress);
            }
            if self.wakeup.wait_for(&mut state, timeout).timed_out() {
                return Next::Idle;
            }
        }
    }
}

#[cfg(test)]
mod tests;
