//! A token's thread: the one place that takes the mutex around the session.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::lanes::{Job, Lanes, Next, Queued};
use super::pulse::Pulse;
use super::slot::TokenReport;
use super::{Gate, SignError, Signed, Slot};
use crate::clock::Clock;
use crate::config::TokenConfig;
use crate::metrics::TokenMetrics;
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
    lanes: Arc<Lanes>,
    pulse: Arc<Pulse>,
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
        gate: Arc<Gate>,
        metrics: TokenMetrics,
    ) -> std::io::Result<Self> {
        let lanes = Arc::new(Lanes::new(config.queue_length));
        let pulse = Arc::new(Pulse::new(metrics));
        let report = Arc::new(Mutex::new(TokenReport {
            problem: "not opened yet".into(),
            ..TokenReport::default()
        }));
        let slot = Mutex::new(Slot::new(
            config.clone(),
            state_dir,
            modules,
            clock,
            gate,
            Arc::clone(&pulse),
            Arc::clone(&report),
        ));
        let thread =
            std::thread::Builder::new().name(format!("token-{}", config.name())).spawn({
                let (lanes, pulse) = (Arc::clone(&lanes), Arc::clone(&pulse));
                move || run(&lanes, &slot, &pulse)
            })?;
        Ok(Self { config, lanes, pulse, report, thread: Mutex::new(Some(thread)) })
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
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// How many signing requests wait.
    pub fn queue_depth(&self) -> usize {
        self.lanes.depth()
    }

    /// Holds signing requests back while a taint runs, or lets them go on.
    pub fn hold(&self, held: bool) {
        self.lanes.hold(held);
    }

    /// Whether signing requests are held back.
    pub fn is_held(&self) -> bool {
        self.lanes.is_held()
    }

    /// Queues a job; whether its answer will be there in a moment.
    pub(super) fn submit(&self, job: Queued) -> Result<bool, SignError> {
        let alone = self.lanes.submit(job)?;
        Ok(alone && self.pulse.last_took() < QUICK)
    }

    /// Does something with the token, ahead of all signing requests, which give way for a moment
    /// longer to whatever comes next.
    ///
    /// # Errors
    /// The thread has stopped.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Slot) -> T + Send + 'static,
    ) -> Result<T, WorkerGone> {
        let lanes = Arc::clone(&self.lanes);
        self.run_once(move |slot| {
            let done = work(slot);
            lanes.reserve();
            done
        })
        .await
    }

    /// Lets signing requests go on at once, after the last of several pieces.
    pub fn release(&self) {
        self.lanes.release();
    }

    /// Does something with the token, ahead of all signing requests, and nothing after it.
    ///
    /// # Errors
    /// The thread has stopped.
    pub async fn run_once<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Slot) -> T + Send + 'static,
    ) -> Result<T, WorkerGone> {
        let (reply, answer) = oneshot::channel();
        let put = self.lanes.put(Box::new(move |slot| {
            // Whoever asked may have left; the work is done all the same.
            drop(reply.send(work(slot)));
        }));
        if !put {
            return Err(WorkerGone);
        }
        answer.await.map_err(|_| WorkerGone)
    }

    /// Finishes what was accepted, logs out, and ends the thread. Blocks.
    pub fn stop(&self) {
        self.lanes.stop();
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

fn run(lanes: &Lanes, slot: &Mutex<Slot>, pulse: &Pulse) {
    let mut followed = false;
    loop {
        let begun = Instant::now();
        // Where requests follow each other at once, the thread stays awake for the next.
        if followed {
            lanes.look(AWAKE);
        }
        let next = lanes.next(PATIENCE);
        followed = matches!(next, Next::Sign(_)) && begun.elapsed() < 2 * AWAKE;
        pulse.turn();
        let mut slot = slot.lock();
        match next {
            Next::Work(work) => {
                pulse.begin_work();
                work(&mut slot);
                pulse.end_work();
            }
            Next::Sign(first) => sign_all(lanes, &mut slot, pulse, first),
            Next::Refuse(job, error) => job.refuse(error),
            Next::Idle => {
                pulse.begin_work();
                slot.look_after();
                pulse.end_work();
            }
            Next::Stop => {
                slot.close();
                return;
            }
        }
    }
}

/// Signs what is queued, as long as nothing goes before it. Replies are handed over together, for each
/// handing over may wake a sleeping thread, unless the device is so slow that this is nothing to it.
fn sign_all(lanes: &Lanes, slot: &mut Slot, pulse: &Pulse, first: Queued) {
    let mut replies = Vec::with_capacity(TOGETHER);
    let mut next = Some(first);
    while let Some(queued) = next {
        pulse.turn();
        let begun = Instant::now();
        sign(lanes, slot, pulse, queued, begun, &mut replies);
        if replies.len() == TOGETHER || begun.elapsed() > QUICK {
            hand_over(&mut replies);
        }
        next = lanes.next_queued();
    }
    hand_over(&mut replies);
}

fn hand_over(replies: &mut Vec<Reply>) {
    for (reply, result) in replies.drain(..) {
        // A caller who has left does not mind.
        drop(reply.send(result));
    }
}

/// Signs one document of a job. A batch goes back into the lane for the next, so that neither admin
/// work nor other callers wait for all of it.
fn sign(
    lanes: &Lanes,
    slot: &mut Slot,
    pulse: &Pulse,
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
    pulse.waited(queued.waited(now));
    match queued.job {
        Job::One { document, reply } => replies.push((reply, slot.sign(&document))),
        Job::Batch { ref mut rest, ref mut signed, .. } => {
            let result = rest.next().map(|document| slot.sign(&document));
            match result {
                Some(Ok(one)) => {
                    signed.push(one);
                    lanes.put_back(queued);
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
