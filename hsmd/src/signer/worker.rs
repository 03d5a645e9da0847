//! A token's thread: it owns the token state, so that nothing else can reach the session.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::batch::{Space, sign_tree};
use super::busy_poll::{Policy, QUICK_SIGNATURE};
use super::liveness::Liveness;
use super::queue::{Job, Next, Queued, Reply, TokenQueue};
use super::token_state::TokenReport;
use super::{ReleaseCheck, SignError, SignedDocument, TokenState};
use crate::clock::Clock;
use crate::config::TokenConfig;
use crate::observe::metrics::TokenMetrics;
use crate::token::Modules;

/// How often the thread maintains the session when nothing else comes.
const MAINTENANCE_INTERVAL: Duration = Duration::from_millis(100);

/// How many replies are sent together under load.
const REPLIES_TOGETHER: usize = 8;

/// An answer that is ready, and where it goes.
type Answer = (Reply<SignedDocument>, Result<SignedDocument, SignError>);

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
    /// Starts the thread of the token at this place in the configuration. Nothing is opened yet. `batch` is
    /// the most documents of one tree. Must be called within a tokio runtime, which answers callers.
    ///
    /// # Errors
    /// The system has no thread left.
    #[expect(clippy::too_many_arguments, reason = "built once, in the commands")]
    pub fn start(
        index: usize,
        config: TokenConfig,
        state_dir: PathBuf,
        modules: Arc<Modules>,
        clock: Clock,
        release_check: Arc<ReleaseCheck>,
        metrics: TokenMetrics,
        batch: usize,
    ) -> std::io::Result<Self> {
        let queue = Arc::new(TokenQueue::new(config.queue_length));
        let liveness = Arc::new(Liveness::new(metrics));
        let report = Arc::new(Mutex::new(TokenReport {
            problem: "not opened yet".into(),
            ..TokenReport::default()
        }));
        let token_state = TokenState::new(
            index,
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
                let trees = Trees { batch, runtime: Handle::current() };
                move || run(&queue, token_state, &liveness, &trees)
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

    /// How many documents wait to be signed.
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
    pub fn submit(&self, job: Queued) -> Result<bool, SignError> {
        let alone = self.queue.submit(job)?;
        Ok(alone && self.liveness.last_took() < QUICK_SIGNATURE)
    }

    /// Does something with the token, ahead of all signing requests, which wait a little longer for the
    /// next piece of admin work.
    ///
    /// # Errors
    /// [`WorkerGone`]: the thread has stopped.
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
    /// [`WorkerGone`]: the thread has stopped.
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

/// What the thread needs for trees.
struct Trees {
    /// The most documents of one.
    batch: usize,
    /// What answers their callers.
    runtime: Handle,
}

fn run(queue: &TokenQueue, mut token_state: TokenState, liveness: &Liveness, trees: &Trees) {
    let mut polling = Policy::default();
    loop {
        token_state.look_if_due();
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
            Next::Sign(first) => sign_all(queue, &mut token_state, liveness, trees, first),
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
fn sign_all(
    queue: &TokenQueue,
    token_state: &mut TokenState,
    liveness: &Liveness,
    trees: &Trees,
    first: Queued,
) {
    let mut answers = Vec::with_capacity(REPLIES_TOGETHER);
    let mut next = Some(first);
    while let Some(first) = next {
        liveness.step();
        let begun = Instant::now();
        let mut jobs = queue.companions(&first, Space::new(trees.batch));
        jobs.insert(0, first);
        jobs = jobs.into_iter().filter_map(|job| still_wanted(job, liveness, begun)).collect();
        let documents = jobs.iter().map(Queued::documents).sum();
        if documents > 1 && jobs[0].company.is_some() {
            liveness.tree(documents);
            let answered = sign_tree(token_state, jobs, &trees.runtime);
            // A quick token waits for its callers anyway. While they are answered what has arrived is read, and
            // the next tree is larger.
            if liveness.last_took() < QUICK_SIGNATURE {
                let _are_answered = answered.recv_timeout(QUICK_SIGNATURE);
            }
        } else {
            for job in jobs {
                sign(queue, token_state, job, &mut answers);
            }
        }
        if answers.len() == REPLIES_TOGETHER || begun.elapsed() > QUICK_SIGNATURE {
            send_all(&mut answers);
        }
        next = queue.next_queued();
    }
    send_all(&mut answers);
}

fn send_all(answers: &mut Vec<Answer>) {
    for (reply, answer) in answers.drain(..) {
        // The send fails when the caller has left, who needs no answer then.
        drop(reply.send(answer));
    }
}

/// The job, unless its caller has left or its deadline has passed.
fn still_wanted(job: Queued, liveness: &Liveness, now: Instant) -> Option<Queued> {
    if job.is_given_up() {
        return None;
    }
    if job.is_expired(now) {
        job.refuse(SignError::Expired);
        return None;
    }
    liveness.waited(job.waited(now));
    Some(job)
}

/// Signs one document of a job. A job with more of them goes back into the queue, so that neither admin
/// work nor other callers wait for all of it.
fn sign(
    queue: &TokenQueue,
    token_state: &mut TokenState,
    mut queued: Queued,
    answers: &mut Vec<Answer>,
) {
    match queued.job {
        Job::One { document, reply } => {
            answers.push((reply, token_state.sign(&document).map(SignedDocument::Body)));
        }
        Job::Several { ref mut rest, ref mut signed, .. } => {
            let result = rest.next().map(|document| token_state.sign(&document));
            let is_done = rest.len() == 0;
            match result {
                Some(Err(error)) => return queued.refuse(error),
                Some(Ok(one)) => signed.push(SignedDocument::Body(one)),
                None => {}
            }
            if !is_done {
                queue.put_back(queued);
            } else if let Job::Several { signed, reply, .. } = queued.job {
                drop(reply.send(Ok(signed)));
            }
        }
    }
}
