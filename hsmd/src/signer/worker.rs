//! A token's thread: it owns the token state, so that nothing else can reach the session.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::busy_poll::{Policy, QUICK_SIGNATURE};
use super::liveness::Liveness;
use super::queue::{Job, Next, Queued, TokenQueue};
use super::token_state::TokenReport;
use super::{ReleaseCheck, SignError, Signed, TokenState};
use crate::clock::Clock;
use crate::config::TokenConfig;
use crate::observe::metrics::TokenMetrics;
use crate::token::Modules;

/// How often the thread maintains the session when nothing else comes.
const MAINTENANCE_INTERVAL: Duration = Duration::from_millis(100);

/// How many replies are sent together under load.
const REPLIES_TOGETHER: usize = 8;

/// A reply that is ready, and who waits for it.
type Reply = (oneshot::Sender<Result<Signed, SignError>>, Result<Signed, SignError>);

/// A token and its thread.
pub struct TokenWorker {
    config: TokenConfig,
    queue: Arc<TokenQueue>,
    liveness: Arc<Liveness>,
    report: Arc<Mutex<TokenReport>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The token's thread has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the daemon is stopping")]
pub struct WorkerGone;

impl TokenWorker {
    /// Starts the thread. Nothing is opened yet.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(
        config: TokenConfig,
        state_dir: PathBuf,
        modules: Arc<Modules>,
        clock: Clock,
        release_check: Arc<ReleaseCheck>,
        metrics: TokenMetrics,
    ) -> std::io::Result<Self> {
        let queue = Arc::new(TokenQueue::new(config.queue_length));
        let liveness = Arc::new(Liveness::new(metrics));
        let report = Arc::new(Mutex::new(TokenReport {
            problem: "not opened yet".into(),
            ..TokenReport::default()
        }));
        let token_state = TokenState::new(
            config.clone(),
            state_dir,
            modules,
            clock,
            release_check,
            Arc::clone(&liveness),
            Arc::clone(&report),
        );
        let thread =
            std::thread::Builder::new().name(format!("token-{}", config.name())).spawn({
                let (queue, liveness) = (Arc::clone(&queue), Arc::clone(&liveness));
                move || run(&queue, token_state, &liveness)
            })?;
        Ok(Self { config, queue, liveness, report, thread: Mutex::new(Some(thread)) })
    }

    /// The token's configuration.
    pub fn config(&self) -> &TokenConfig {
        &self.config
    }

    /// What can be said of the token now.
    pub fn report(&self) -> TokenReport {
        self.report.lock().clone()
    }

    /// When it last signed, and since when a call runs.
    pub fn liveness(&self) -> &Liveness {
        &self.liveness
    }

    /// How many signing requests wait.
    pub fn queue_depth(&self) -> usize {
        self.queue.depth()
    }

    /// Holds signing requests back while a taint runs, or lets them go on.
    pub fn hold(&self, held: bool) {
        self.queue.hold(held);
    }

    /// Whether signing requests are held back.
    pub fn is_held(&self) -> bool {
        self.queue.is_held()
    }

    /// Queues a job; whether it pays to poll for its answer.
    pub(super) fn submit(&self, job: Queued) -> Result<bool, SignError> {
        let alone = self.queue.submit(job)?;
        Ok(alone && self.liveness.last_took() < QUICK_SIGNATURE)
    }

    /// Does something with the token, ahead of all signing requests, which wait a little longer for the
    /// next piece of admin work.
    ///
    /// # Errors
    /// The thread has stopped.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut TokenState) -> T + Send + 'static,
    ) -> Result<T, WorkerGone> {
        let queue = Arc::clone(&self.queue);
        self.run_once(move |token_state| {
            let done = work(token_state);
            queue.reserve();
            done
        })
        .await
    }

    /// Lets signing requests go on at once, after the last of several pieces.
    pub fn release(&self) {
        self.queue.release();
    }

    /// Does something with the token, ahead of all signing requests, and nothing after it.
    ///
    /// # Errors
    /// The thread has stopped.
    pub async fn run_once<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut TokenState) -> T + Send + 'static,
    ) -> Result<T, WorkerGone> {
        let (reply, answer) = oneshot::channel();
        let put = self.queue.put(Box::new(move |token_state| {
            // The work is done although its caller may have left.
            drop(reply.send(work(token_state)));
        }));
        if !put {
            return Err(WorkerGone);
        }
        answer.await.map_err(|_| WorkerGone)
    }

    /// Finishes what was accepted, logs out, and ends the thread. Blocks.
    pub fn stop(&self) {
        self.queue.stop();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!(token = self.config.name(), "the token's thread panicked");
        }
    }
}

impl fmt::Debug for TokenWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenWorker").field("token", &self.config.name()).finish_non_exhaustive()
    }
}

fn run(queue: &TokenQueue, mut token_state: TokenState, liveness: &Liveness) {
    let mut polling = Policy::default();
    loop {
        let begun = Instant::now();
        if polling.polls() {
            queue.poll();
        }
        let next = queue.next(MAINTENANCE_INTERVAL);
        polling.note(matches!(next, Next::Sign(_)), begun.elapsed());
        liveness.step();
        match next {
            Next::Work(work) => {
                liveness.begin_work();
                work(&mut token_state);
                liveness.end_work();
            }
            Next::Sign(first) => sign_all(queue, &mut token_state, liveness, first),
            Next::Refuse(job, error) => job.refuse(error),
            Next::Idle => {
                liveness.begin_work();
                token_state.maintain();
                liveness.end_work();
            }
            Next::Stop => {
                token_state.close();
                return;
            }
        }
    }
}

/// Signs what is queued, as long as no admin work comes. Replies are sent together, because each send may
/// wake a sleeping thread; on a slow device that costs nothing in comparison, and each is sent at once.
fn sign_all(queue: &TokenQueue, token_state: &mut TokenState, liveness: &Liveness, first: Queued) {
    let mut replies = Vec::with_capacity(REPLIES_TOGETHER);
    let mut next = Some(first);
    while let Some(queued) = next {
        liveness.step();
        let begun = Instant::now();
        sign(queue, token_state, liveness, queued, begun, &mut replies);
        if replies.len() == REPLIES_TOGETHER || begun.elapsed() > QUICK_SIGNATURE {
            send_all(&mut replies);
        }
        next = queue.next_queued();
    }
    send_all(&mut replies);
}

fn send_all(replies: &mut Vec<Reply>) {
    for (reply, result) in replies.drain(..) {
        // The send fails when the caller has left, who needs no answer then.
        drop(reply.send(result));
    }
}

/// Signs one document of a job. A batch goes back into the queue for the next, so that neither admin
/// work nor other callers wait for all of it.
fn sign(
    queue: &TokenQueue,
    token_state: &mut TokenState,
    liveness: &Liveness,
    mut queued: Queued,
    now: Instant,
    replies: &mut Vec<Reply>,
) {
    if queued.is_given_up() {
        return;
    }
    if queued.is_expired(now) {
        return queued.refuse(SignError::Expired);
    }
    liveness.waited(queued.waited(now));
    match queued.job {
        Job::One { document, reply } => replies.push((reply, token_state.sign(&document))),
        Job::Batch { ref mut rest, ref mut signed, .. } => {
            let result = rest.next().map(|document| token_state.sign(&document));
            match result {
                Some(Ok(one)) => {
                    signed.push(one);
                    queue.put_back(queued);
                }
                Some(Err(error)) => queued.refuse(error),
                None => {
                    if let Job::Batch { signed, reply, .. } = queued.job {
                        drop(reply.send(Ok(signed)));
                    }
                }
            }
        }
    }
}
