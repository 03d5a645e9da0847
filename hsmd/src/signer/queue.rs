//! The queue before a token: admin work first, then signing requests, bounded and fair between callers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::batch::{Company, Space};
use super::busy_poll::Changed;
use super::fair::{Choice, FairQueue, Full};
use super::{Document, SignError, SignedDocument, TokenState};
use crate::authz::Caller;

/// How long signing requests may wait for a taint to end before they are refused.
const HOLD_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the token stays free for the next piece of admin work after one: without it, a rotation of
/// several pieces would wait for a whole signature of a slow device before each. It covers a COMMIT, so
/// that a rotation waits once; a database that takes longer does not stop signing.
const ADMIN_RESERVATION: Duration = Duration::from_millis(50);

/// A piece of admin work for the token's thread.
pub type Work = Box<dyn FnOnce(&mut TokenState) + Send>;

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, SignError>>;

/// What a caller waits for.
#[derive(Debug)]
pub enum Job {
    /// One document.
    One { document: Document, reply: Reply<SignedDocument> },
    /// Several. Where they may not be leaves, each pass through the thread signs one, so that other
    /// callers' requests are signed in between.
    Several {
        rest: std::vec::IntoIter<Document>,
        signed: Vec<SignedDocument>,
        reply: Reply<Vec<SignedDocument>>,
    },
}

/// A job in the queue.
#[derive(Debug)]
pub struct Queued {
    caller: Caller,
    pub job: Job,
    /// With which others its documents may share a tree; none where the caller accepts no leaves.
    pub company: Option<Company>,
    deadline: Option<Instant>,
    since: Instant,
}

impl Queued {
    pub fn new(
        caller: Caller,
        job: Job,
        company: Option<Company>,
        deadline: Option<Instant>,
    ) -> Self {
        Self { caller, job, company, deadline, since: Instant::now() }
    }

    /// How many documents are still to be signed.
    pub fn documents(&self) -> usize {
        match &self.job {
            Job::One { .. } => 1,
            Job::Several { rest, .. } => rest.len(),
        }
    }

    /// How many bytes they have.
    pub fn bytes(&self) -> usize {
        match &self.job {
            Job::One { document, .. } => document.length(),
            Job::Several { rest, .. } => rest.as_slice().iter().map(Document::length).sum(),
        }
    }

    /// Whether its caller has left.
    pub fn is_given_up(&self) -> bool {
        match &self.job {
            Job::One { reply, .. } => reply.is_closed(),
            Job::Several { reply, .. } => reply.is_closed(),
        }
    }

    /// How long it has waited, with several documents since the last signature.
    pub fn waited(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    pub fn is_expired(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    pub fn refuse(self, error: SignError) {
        // The send fails when the caller has left, who needs no answer then.
        match self.job {
            Job::One { reply, .. } => drop(reply.send(Err(error))),
            Job::Several { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

/// What the thread does next.
pub enum Next {
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

struct State {
    work: VecDeque<Work>,
    jobs: FairQueue<Queued>,
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

    /// Whether nothing goes before the signing requests.
    fn may_sign(&self) -> bool {
        self.work.is_empty() && !self.held && self.reserved().is_none()
    }
}

/// The queue of one token.
pub struct TokenQueue {
    state: Mutex<State>,
    wakeup: Condvar,
    changed: Changed,
    capacity: usize,
}

impl TokenQueue {
    pub fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::new(State {
                work: VecDeque::new(),
                jobs: FairQueue::new(capacity),
                held: false,
                stopping: false,
                reserved_until: None,
            }),
            wakeup: Condvar::new(),
            changed: Changed::default(),
            capacity,
        }
    }

    /// Queues a job; whether it is the only one.
    pub fn submit(&self, job: Queued) -> Result<bool, SignError> {
        let mut state = self.state.lock();
        if state.stopping {
            return Err(SignError::NotActive("the daemon is stopping"));
        }
        let alone = state.jobs.is_empty() && !state.held;
        let (caller, documents) = (job.caller.clone(), job.documents());
        let pushed = state.jobs.push(&caller, job, documents);
        pushed.map_err(|Full| SignError::QueueFull(self.capacity))?;
        drop(state);
        self.notify();
        Ok(alone)
    }

    fn notify(&self) {
        self.changed.set();
        self.wakeup.notify_one();
    }

    /// Polls for something to do, for a while; see [`busy_poll`](super::busy_poll).
    pub fn poll(&self) {
        self.changed.reset();
        let state = self.state.lock();
        if state.jobs.is_empty() && state.work.is_empty() && !state.stopping {
            drop(state);
            self.changed.poll();
        }
    }

    /// Puts work before everything but earlier work; false when the thread has stopped.
    pub fn put(&self, work: Work) -> bool {
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
    pub fn reserve(&self) {
        self.state.lock().reserved_until = Some(Instant::now() + ADMIN_RESERVATION);
    }

    /// Ends a reservation: no more admin work follows.
    pub fn release(&self) {
        self.state.lock().reserved_until = None;
        self.notify();
    }

    /// Puts a job with documents left behind the jobs that wait.
    pub fn put_back(&self, mut job: Queued) {
        job.since = Instant::now();
        let (caller, documents) = (job.caller.clone(), job.documents());
        self.state.lock().jobs.push_back(&caller, job, documents);
    }

    /// Holds signing requests back, or lets them go on.
    pub fn hold(&self, held: bool) {
        self.state.lock().held = held;
        self.notify();
    }

    pub fn is_held(&self) -> bool {
        self.state.lock().held
    }

    /// How many documents wait.
    pub fn depth(&self) -> usize {
        self.state.lock().jobs.documents()
    }

    pub fn stop(&self) {
        let mut state = self.state.lock();
        state.stopping = true;
        state.held = false;
        drop(state);
        self.notify();
    }

    /// The next signing request, when nothing else is to be done before it and nothing to wait for.
    pub fn next_queued(&self) -> Option<Queued> {
        let mut state = self.state.lock();
        if state.may_sign() { state.jobs.pop() } else { None }
    }

    /// The requests that may share a tree with `first`, as many as fit, of all callers in turn.
    pub fn companions(&self, first: &Queued, mut space: Space) -> Vec<Queued> {
        let mut state = self.state.lock();
        if first.company.is_none() || !state.may_sign() {
            return Vec::new();
        }
        space.begin(first);
        state.jobs.take_in_turn(|job| {
            if job.company != first.company {
                Choice::Leave
            } else if space.take(job) {
                Choice::Take
            } else {
                // A later one that is smaller must not overtake it.
                Choice::End
            }
        })
    }

    /// Waits for something to do, at most for `timeout`.
    pub fn next(&self, timeout: Duration) -> Next {
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
                if let Some(job) = state.jobs.pop() {
                    return Next::Sign(job);
                }
                if state.stopping {
                    return Next::Stop;
                }
            } else if let Some(job) = state.jobs.pop_first(|job| job.since.elapsed() > HOLD_TIMEOUT)
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
