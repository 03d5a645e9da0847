//! A token's thread: the one place that takes the mutex around the session.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::liveness::Liveness;
use super::queue::{Job, Next, Queued, TokenQueue};
use super::token_state::TokenReport;
use super::{ReleaseCheck, SignError, Signed, TokenState};
use crate::clock::Clock;
use crate::config::TokenConfig;
use crate::observe::metrics::TokenMetrics;
use crate::token::Modules;

/// How often the thread looks after a lost session when nothing else comes.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long the thread looks for the next request without going to sleep: to be woken takes as long as
/// a signature of a quick token.
const AWAKE: Duration = Duration::from_micros(200);

/// How many replies are handed over together under load.
const TOGETHER: usize = 8;

/// A device that takes longer for a signature is not worth the wait for others.
const QUICK: Duration = Duration::from_micros(100);

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
        let token_state = Mutex::new(TokenState::new(
            config.clone(),
            state_dir,
            modules,
            clock,
            release_check,
            Arc::clone(&liveness),
            Arc::clone(&report),
        ));
        let thread =
            std::thread::Builder::new().name(format!("token-{}", config.name())).spawn({
                let (queue, liveness) = (Arc::clone(&queue), Arc::clone(&liveness));
                move || run(&queue, &token_state, &liveness)
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

    /// Queues a job; whether its answer will be there in a moment.
    pub(super) fn submit(&self, job: Queued) -> Result<bool, SignError> {
        let alone = self.queue.submit(job)?;
        Ok(alone && self.liveness.last_took() < QUICK)
    }

    /// Does something with the token, ahead of all signing requests, which give way for a moment
    /// longer to whatever comes next.
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
            // Whoever asked may have left; the work is done all the same.
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

fn run(queue: &TokenQueue, token_state: &Mutex<TokenState>, liveness: &Liveness) {
    let mut followed = false;
    loop {
        let begun = Instant::now();
        // Where requests follow each other at once, the thread stays awake for the next.
        if followed {
            queue.look(AWAKE);
        }
        let next = queue.next(PATIENCE);
        followed = matches!(next, Next::Sign(_)) && begun.elapsed() < 2 * AWAKE;
        liveness.turn();
        let mut token_state = token_state.lock();
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

/// Signs what is queued, as long as nothing goes before it. Replies are handed over together, for each
/// handing over may wake a sleeping thread, unless the device is so slow that this is nothing to it.
fn sign_all(queue: &TokenQueue, token_state: &mut TokenState, liveness: &Liveness, first: Queued) {
    let mut replies = Vec::with_capacity(TOGETHER);
    let mut next = Some(first);
    while let Some(queued) = next {
        liveness.turn();
        let begun = Instant::now();
        sign(queue, token_state, liveness, queued, begun, &mut replies);
        if replies.len() == TOGETHER || begun.elapsed() > QUICK {
            hand_over(&mut replies);
        }
        next = queue.next_queued();
    }
    hand_over(&mut replies);
}

fn hand_over(replies: &mut Vec<Reply>) {
    for (reply, result) in replies.drain(..) {
        // A caller who has left does not mind.
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
