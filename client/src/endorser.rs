//! Keeps one public key of a service endorsed, whatever happens to the HSM's key.

mod schedule;
mod token;

use std::sync::Arc;
use std::time::Duration;

use hsmd_chain::body::BodyError;
use hsmd_chain::endorsement::EndorsementError;
use hsmd_chain::{Digest, KeyLog, Lifetime, PublicKey, Timestamp, VerifiedEndorsement};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::{CallError, CheckError, Client, VerifiedLog};
use schedule::Schedule;

pub use token::TokenError;

/// One attempt's timeout. Shorter than a client's: after a taint every try counts.
const ATTEMPT: Duration = Duration::from_secs(2);

/// How long an endorsement by a generation that we have not seen yet waits for its event.
const EVENT: Duration = Duration::from_secs(2);

/// Keeps a given public key endorsed for a purpose, in the background, until it is dropped; clones
/// share it. It makes no keys and never sees the private one.
///
/// It renews when about two thirds of the lifetime have passed, with jitter, and at once when the
/// key log moves: a rotation or taint needs no restart of anything. It publishes only what it has
/// verified against the [`VerifiedLog`], always by the newest generation, and withdraws (publishes
/// `None`) what has expired or was tainted. It never gives up: see [`problem`](Self::problem).
#[derive(Clone, Debug)]
pub struct Endorser {
    log: VerifiedLog,
    published: Arc<watch::Sender<Option<Arc<Endorsement>>>>,
    problem: watch::Receiver<Option<Arc<EndorseProblem>>>,
    _task: Arc<AbortOnDropHandle<()>>,
}

/// An endorsement that was verified when it was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endorsement {
    verified: VerifiedEndorsement,
}

/// Why the last attempt to get an endorsement failed. The next one follows by itself.
#[derive(Debug, thiserror::Error)]
pub enum EndorseProblem {
    /// The daemon did not endorse the key.
    #[error("the daemon did not endorse the key")]
    Call(#[source] CallError),
    /// The key log can't confirm the endorsement now.
    #[error("the daemon's endorsement can't be verified")]
    Check(#[source] CheckError),
    /// The key moved on while the daemon answered.
    #[error("the daemon's endorsement is by {generation_id}, which is not the head")]
    NotHead {
        /// The generation that signed.
        generation_id: Digest,
    },
}

impl Endorser {
    /// Starts to keep `public_key` endorsed for `purpose`, each time for `ttl`. Returns at once, see
    /// [`ready`](Self::ready); must be called within a tokio runtime.
    pub fn start(
        client: &Client,
        log: VerifiedLog,
        purpose: impl Into<String>,
        public_key: PublicKey,
        ttl: Duration,
    ) -> Self {
        let published = Arc::new(watch::Sender::new(None));
        let (problem_sender, problem) = watch::channel(None);
        let worker = Worker {
            client: client.once_within(ATTEMPT),
            log: log.clone(),
            purpose: purpose.into(),
            public_key,
            ttl,
            published: Arc::clone(&published),
            problem: problem_sender,
        };
        let task = Arc::new(AbortOnDropHandle::new(tokio::spawn(worker.run())));
        Self { log, published, problem, _task: task }
    }

    /// The endorsement to show now; `None` before the first and after a withdrawal. A service
    /// without one is not ready.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Endorsement>> {
        self.published.borrow().clone()
    }

    /// A channel that holds [`current`](Self::current) and changes with it.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Endorsement>>> {
        self.published.subscribe()
    }

    /// Waits for an endorsement, however long that takes.
    pub async fn ready(&self) -> Arc<Endorsement> {
        let mut published = self.subscribe();
        loop {
            if let Some(endorsement) = published.borrow_and_update().clone() {
                return endorsement;
            }
            if published.changed().await.is_err() {
                // Can't be: we hold the sender.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Why the last attempt failed; `None` after a success.
    #[must_use]
    pub fn problem(&self) -> Option<Arc<EndorseProblem>> {
        self.problem.borrow().clone()
    }
}

impl Endorsement {
    /// The published form: `{"body":…,"signature":…}`, or that of a batched signature.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.verified.body().signed().to_json()
    }

    /// The first instant at which it no longer holds.
    #[must_use]
    pub fn expiration(&self) -> Timestamp {
        self.verified.expiration()
    }

    /// The generation that signed it.
    #[must_use]
    pub fn generation_id(&self) -> Digest {
        self.verified.generation_id()
    }

    /// All that was verified.
    #[must_use]
    pub fn verified(&self) -> &VerifiedEndorsement {
        &self.verified
    }
}

/// The background task.
struct Worker {
    client: Client,
    log: VerifiedLog,
    purpose: String,
    public_key: PublicKey,
    ttl: Duration,
    published: Arc<watch::Sender<Option<Arc<Endorsement>>>>,
    problem: watch::Sender<Option<Arc<EndorseProblem>>>,
}

impl Worker {
    async fn run(self) {
        let mut moves = self.log.changes();
        let mut schedule = Schedule::default();
        loop {
            // Before the attempt: a move during it is then still a move after it.
            moves.mark_unchanged();
            self.withdraw_dead();
            match self.endorse().await {
                Ok(endorsement) => {
                    let due = schedule.renewal(self.now(), endorsement.expiration());
                    let generation = endorsement.generation_id();
                    self.problem.send_replace(None);
                    self.published.send_replace(Some(Arc::new(endorsement)));
                    self.wait_until(due, &generation, &mut moves).await;
                }
                Err(problem) => {
                    // The attempt may have taken until after the expiration.
                    self.withdraw_dead();
                    let delay = schedule.retry(self.time_left(), &problem);
                    self.note(problem);
                    // Either way it is time for the next attempt.
                    let _elapsed = timeout(delay, moves.changed()).await;
                }
            }
        }
    }

    /// Gets one endorsement by the head and verifies it.
    async fn endorse(&self) -> Result<Endorsement, EndorseProblem> {
        // Not worth a signature as long as it can't be verified.
        if self.log.fresh().is_err() {
            let _elapsed = timeout(ATTEMPT, self.log.ready()).await;
            self.log.fresh().map_err(EndorseProblem::Check)?;
        }
        let signed = self.client.endorse(&self.purpose, &self.public_key, self.ttl).await;
        let signed = signed.map_err(EndorseProblem::Call)?.signed;
        self.wait_for_event(&signed.generation_id()).await;
        let verified = self
            .log
            .check_endorsement(&signed, &self.purpose, &self.public_key, Duration::ZERO)
            .map_err(EndorseProblem::Check)?;
        let generation_id = verified.generation_id();
        if self.is_live_head(&generation_id) {
            Ok(Endorsement { verified })
        } else {
            Err(EndorseProblem::NotHead { generation_id })
        }
    }

    /// The daemon's answer can be faster than its feed: gives the event a moment to arrive.
    async fn wait_for_event(&self, generation: &Digest) {
        let mut moves = self.log.changes();
        let known = |log: &Option<KeyLog>| {
            log.as_ref().is_some_and(|log| log.generation(generation).is_some())
        };
        if !known(&moves.borrow()) {
            self.log.refresh();
            // Unknown after that: verification says so.
            let _elapsed = timeout(EVENT, moves.wait_for(known)).await;
        }
    }

    /// Waits until the renewal is due or `generation` is no longer what should sign. In slices, since
    /// a wall clock can jump.
    async fn wait_until(
        &self,
        due: Timestamp,
        generation: &Digest,
        moves: &mut watch::Receiver<Option<KeyLog>>,
    ) {
        while self.is_live_head(generation) {
            let left = due.saturating_since(self.now());
            if left.is_zero() {
                return;
            }
            let slice = left.min(Duration::from_secs(30));
            let _elapsed = timeout(slice, moves.changed()).await;
        }
    }

    fn is_live_head(&self, generation: &Digest) -> bool {
        self.log.snapshot().is_some_and(|log| {
            log.position().id == *generation && log.is_live(generation, self.now(), Duration::ZERO)
        })
    }

    /// For how long the published endorsement still holds; zero if that is by an older generation
    /// or there is none: then a new one is urgent.
    fn time_left(&self) -> Duration {
        let published = self.published.borrow().clone();
        published
            .filter(|endorsement| self.is_live_head(&endorsement.generation_id()))
            .map_or(Duration::ZERO, |it| it.expiration().saturating_since(self.now()))
    }

    /// Withdraws the published endorsement if it may not be believed any more.
    fn withdraw_dead(&self) {
        let log = self.log.snapshot();
        let now = self.now();
        self.published.send_if_modified(|published| {
            let dead = published.as_ref().is_some_and(|endorsement| {
                let generation = endorsement.generation_id();
                let lifetime =
                    log.as_ref().and_then(|log| log.stops_being_live(&generation, Duration::ZERO));
                endorsement.expiration() <= now || lifetime == Some(Lifetime::Tainted)
            });
            if dead {
                *published = None;
            }
            dead
        });
    }

    fn note(&self, problem: EndorseProblem) {
        let cause = std::error::Error::source(&problem).map(tracing::field::display);
        if self.problem.borrow().is_none() {
            tracing::warn!(purpose = self.purpose, %problem, cause, "cannot renew the endorsement");
        } else {
            tracing::debug!(purpose = self.purpose, %problem, cause, "cannot renew the endorsement");
        }
        self.problem.send_replace(Some(Arc::new(problem)));
    }

    fn now(&self) -> Timestamp {
        self.log.clock().now()
    }
}

impl EndorseProblem {
    /// Whether it passes by itself, most likely soon.
    fn is_passing(&self) -> bool {
        match self {
            Self::Call(error) => error.is_retryable(),
            Self::NotHead { .. } => true,
            Self::Check(CheckError::Stale { .. }) => true,
            Self::Check(CheckError::Endorsement(EndorsementError::Body(
                BodyError::UnknownGeneration { .. } | BodyError::NotLive { .. },
            ))) => true,
            Self::Check(_) => false,
        }
    }
}
