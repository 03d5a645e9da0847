//! The threads that hash: fewer than there are cores and of lower priority, so that sign-ins do not keep
//! other requests waiting; and the bounded queue in front of them.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    num::NonZero,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::sync::oneshot;

use super::scheme::{self, Argon2Settings};
use crate::error::ApiError;

pub(crate) use scheme::Scratch;

/// How much the threads give way to others, in steps of nice(2).
const NICE: i32 = 10;

/// After which a client that found the queue full may come again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Runs jobs on the threads, in order of arrival. Clones share them; the last one dropped ends them.
#[derive(Clone)]
pub(crate) struct Hasher(Arc<Handle>);

/// Ends the threads when it is dropped.
struct Handle(Arc<Shared>);

struct Shared {
    /// A plain mutex: held for a moment and never across an await.
    queue: Mutex<Queue>,
    arrived: Condvar,
    capacity: usize,
    counts: HasherCounts,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// How many of them each network has.
    waiting: HashMap<IpAddr, usize>,
    closed: bool,
}

struct Job {
    network: IpAddr,
    work: Box<dyn FnOnce(&mut Scratch) + Send>,
}

/// What has been done. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct HasherCounts {
    pub(crate) argon2: Counter,
    pub(crate) scrypt: Counter,
    pub(crate) refused: Counter,
    pub(crate) waiting: Gauge,
}

/// The queue has no place for a job.
#[derive(Debug, thiserror::Error)]
#[error("the queue of passwords to hash is full")]
struct QueueFull;

/// A thread ended before it had done a job.
#[derive(Debug, thiserror::Error)]
#[error("a password was not hashed")]
struct Lost;

impl Hasher {
    /// Starts the threads, one less than there are cores unless told how many. At most `capacity` jobs
    /// wait.
    ///
    /// # Errors
    /// Argon2id has no such settings, or a thread can't be started.
    pub(crate) fn start(
        settings: Argon2Settings,
        threads: Option<NonZero<usize>>,
        capacity: usize,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let threads = threads.map_or(cores.saturating_sub(1).max(1), NonZero::get);
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            arrived: Condvar::new(),
            capacity,
            counts: HasherCounts::default(),
        });
        let handle = Handle(Arc::clone(&shared));
        for number in 0..threads {
            let (shared, mut scratch) =
                (Arc::clone(&shared), Scratch::new(settings, shared.counts.clone())?);
            thread::Builder::new()
                .name(format!("hash-{number}"))
                .spawn(move || shared.work(&mut scratch))?;
        }
        Ok(Self(Arc::new(handle)))
    }

    /// Runs one job. It is not begun if its caller leaves before its turn comes; one that finds the queue
    /// full, or a quarter of it taken by its own network, is refused at once.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        network: IpAddr,
        work: impl FnOnce(&mut Scratch) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let (sender, receiver) = oneshot::channel();
        let job = move |scratch: &mut Scratch| {
            if !sender.is_closed() {
                // Refused only if the caller has left meanwhile.
                let _left = sender.send(work(scratch));
            }
        };
        self.0.0.push(Job { network, work: Box::new(job) })?;
        receiver.await.map_err(|_| ApiError::Internal(Lost.into()))
    }

    pub(crate) fn counts(&self) -> HasherCounts {
        self.0.0.counts.clone()
    }
}

impl Shared {
    fn push(&self, job: Job) -> Result<(), ApiError> {
        let mut queue = self.lock();
        let share = queue.waiting.get(&job.network).copied().unwrap_or(0);
        if queue.jobs.len() >= self.capacity || share >= self.capacity.div_ceil(4) {
            self.counts.refused.inc();
            return Err(ApiError::Unavailable {
                retry_after: RETRY_AFTER,
                source: QueueFull.into(),
            });
        }
        queue.waiting.insert(job.network, share + 1);
        queue.jobs.push_back(job);
        self.counts.waiting.inc();
        drop(queue);
        self.arrived.notify_one();
        Ok(())
    }

    fn work(&self, scratch: &mut Scratch) {
        if let Err(error) = rustix::process::nice(NICE) {
            tracing::warn!(%error, "hashing runs at the same priority as everything else");
        }
        while let Some(job) = self.next() {
            (job.work)(scratch);
        }
    }

    /// The next job; nothing when there will be none.
    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                self.counts.waiting.dec();
                match queue.waiting.get_mut(&job.network) {
                    Some(count) if *count > 1 => *count -= 1,
                    _ => drop(queue.waiting.remove(&job.network)),
                }
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.arrived.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn hasher(capacity: usize) -> Hasher {
        let settings = Argon2Settings { memory_kib: 8, iterations: 1, parallelism: 1 };
        Hasher::start(settings, NonZero::new(1), capacity).unwrap()
    }

    fn network(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[tokio::test]
    async fn one_network_has_a_quarter_of_the_queue_and_all_have_the_whole() {
        let hasher = hasher(8);
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let (go, wait) = mpsc::channel::<()>();
        let mut jobs = tokio::task::JoinSet::new();
        let run = |network, work: Box<dyn FnOnce() + Send>| {
            let hasher = hasher.clone();
            async move { hasher.run(network, |_| work()).await.is_ok() }
        };
        jobs.spawn(run(
            network(9),
            Box::new(move || {
                begun.send(()).unwrap();
                wait.recv().unwrap();
            }),
        ));
        begins.recv().await.unwrap();
        for one in 1..=4 {
            for _ in 0..2 {
                jobs.spawn(run(network(one), Box::new(|| {})));
                let waiting = i64::try_from(jobs.len()).unwrap() - 1;
                while hasher.counts().waiting.get() < waiting {
                    tokio::task::yield_now().await;
                }
            }
            assert!(!run(network(one), Box::new(|| {})).await, "a quarter is its own network's");
        }
        assert!(!run(network(5), Box::new(|| {})).await, "the queue is full");
        go.send(()).unwrap();
        let done = jobs.join_all().await;
        assert_eq!(done, [true; 9]);
        assert_eq!(hasher.counts().refused.get(), 5);
        assert!(run(network(5), Box::new(|| {})).await);
    }

    #[tokio::test]
    async fn who_has_left_costs_nothing() {
        let hasher = hasher(8);
        let (go, wait) = mpsc::channel::<()>();
        let busy = {
            let hasher = hasher.clone();
            tokio::spawn(async move { hasher.run(network(1), move |_| wait.recv()).await.is_ok() })
        };
        let left = {
            let hasher = hasher.clone();
            tokio::spawn(async move {
                hasher.run(network(2), |scratch| scratch.hash(b"unheard")).await.is_ok()
            })
        };
        while hasher.counts().waiting.get() == 0 {
            tokio::task::yield_now().await;
        }
        left.abort();
        assert!(left.await.is_err());
        go.send(()).unwrap();
        assert!(busy.await.unwrap());
        let last = hasher.run(network(3), |scratch| scratch.hash(b"heard")).await;
        assert!(last.is_ok());
        assert_eq!(last.unwrap().matches('$').count(), 5);
    }
}
