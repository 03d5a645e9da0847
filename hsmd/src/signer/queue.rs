//! The queue before a token: admin work ahead, signing requests in turn, bounded.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::{Document, SignError, Signed, TokenState};

/// How long signing requests may wait for a taint to end before they are refused.
const HOLD_AT_MOST: Duration = Duration::from_secs(2);

/// A piece of admin work for the token's thread.
pub(super) type Work = Box<dyn FnOnce(&mut TokenState) + Send>;

/// How long the token stays free for the next piece of admin work after one: without it, a rotation of
/// several pieces would wait for a whole signature of a slow device before each. It covers a COMMIT, so
/// that a rotation waits once; a database that takes longer does not stop signing.
const BETWEEN_PIECES: Duration = Duration::from_millis(50);

/// What a caller waits for.
#[derive(Debug)]
pub(super) enum Job {
    /// One document.
    One { document: Document, reply: oneshot::Sender<Result<Signed, SignError>> },
    /// Several: each pass through the thread signs one, so that others get their turn in between.
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

    /// Whether nobody waits for it any more: its caller left, or its deadline passed.
    pub(super) fn is_given_up(&self) -> bool {
        match &self.job {
            Job::One { reply, .. } => reply.is_closed(),
            Job::Batch { reply, .. } => reply.is_closed(),
        }
    }

    /// How long it has waited, for a batch since its last turn.
    pub(super) fn waited(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    pub(super) fn is_expired(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    pub(super) fn refuse(self, error: SignError) {
        // A caller who has left does not mind.
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
    /// Tell the caller that it waited long enough.
    Refuse(Queued, SignError),
    /// Nothing came: look after the session.
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
    /// Until when signing requests give way to the next piece of admin work.
    reserved_until: Option<Instant>,
}

impl State {
    /// How long signing requests still give way.
    fn reserved(&self) -> Option<Duration> {
        self.reserved_until?.checked_duration_since(Instant::now()).filter(|time| !time.is_zero())
    }
}

/// Both queue of one token.
pub(super) struct TokenQueue {
    state: Mutex<State>,
    changed: Condvar,
    /// Whether anything has been changed since the thread last looked.
    news: AtomicBool,
    capacity: usize,
}

impl TokenQueue {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            news: AtomicBool::new(false),
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
        self.tell();
        Ok(alone)
    }

    fn tell(&self) {
        self.news.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    /// Looks out for something to do for a moment, without going to sleep.
    pub(super) fn look(&self, time: Duration) {
        let begun = Instant::now();
        // Before the look at the queue: what comes after it is news.
        self.news.store(false, Ordering::Release);
        let state = self.state.lock();
        if !state.jobs.is_empty() || !state.work.is_empty() || state.stopping {
            return;
        }
        drop(state);
        while !self.news.load(Ordering::Acquire) && begun.elapsed() < time {
            std::hint::spin_loop();
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
        self.tell();
        true
    }

    /// Keeps the token free for a moment: the piece of admin work that has just ended may be followed
    /// by another.
    pub(super) fn reserve(&self) {
        self.state.lock().reserved_until = Some(Instant::now() + BETWEEN_PIECES);
    }

    /// Lets signing requests go on at once: no more admin work follows.
    pub(super) fn release(&self) {
        self.state.lock().reserved_until = None;
        self.tell();
    }

    /// Puts a batch back behind those who wait, or straight to the front when nobody does.
    pub(super) fn put_back(&self, mut job: Queued) {
        job.since = Instant::now();
        self.state.lock().jobs.push_back(job);
    }

    /// Holds signing requests back, or lets them go on.
    pub(super) fn hold(&self, held: bool) {
        self.state.lock().held = held;
        self.tell();
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
        self.tell();
    }

    /// The next signing request, when nothing else is to be done before it and nothing to wait for.
    pub(super) fn next_queued(&self) -> Option<Queued> {
        let mut state = self.state.lock();
        let in_turn = state.work.is_empty() && !state.held && state.reserved().is_none();
        if in_turn { state.jobs.pop_front() } else { None }
    }

    /// Waits for something to do, at most for `patience`.
    pub(super) fn next(&self, patience: Duration) -> Next {
        let mut state = self.state.lock();
        loop {
            if let Some(work) = state.work.pop_front() {
                return Next::Work(work);
            }
            if let Some(time) = state.reserved()
                && !state.stopping
            {
                self.changed.wait_for(&mut state, time);
                continue;
            }
            if !state.held {
                if let Some(job) = state.jobs.pop_front() {
                    return Next::Sign(job);
                }
                if state.stopping {
                    return Next::Stop;
                }
            } else if state.jobs.front().is_some_and(|job| job.since.elapsed() > HOLD_AT_MOST)
                && let Some(job) = state.jobs.pop_front()
            {
                return Next::Refuse(job, SignError::TaintInProgress);
            }
            if self.changed.wait_for(&mut state, patience).timed_out() {
                return Next::Idle;
            }
        }
    }
}
