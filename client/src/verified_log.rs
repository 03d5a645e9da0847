//! The key log, followed and verified: what a service asks before it trusts a signature.

mod error;
mod follow;
mod http;
mod state;
mod store;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hsmd_chain::{Anchor, HeadStatement, KeyLog, PublicKey, SignedPayload, VerifiedEndorsement};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

pub use error::{CheckError, OpenError, Problem, TerminalError};
pub use http::HttpLog;

use crate::{Client, Clock};
use state::Shared;

/// Where a key log is read from. Either way every event is verified, so a source can only withhold
/// events, which [`CheckError::Stale`] bounds.
#[derive(Clone, Debug)]
pub enum LogSource {
    /// The daemon's own feed: an event arrives within milliseconds, a heartbeat every 5 seconds.
    /// The contact is authenticated by the Unix socket's path or by mutual TLS.
    Grpc(Client),
    /// `GET /hsm/keys` and `GET /hsm/head` of the keys service or hsmd-gateway, polled. Plain HTTP
    /// authenticates no server, so only a head statement counts as contact, from the time at which it was
    /// made: a machine in between can replay an old log for
    /// [`max_staleness`](LogOptions::max_staleness) and no longer, unless it holds the active key itself.
    Http(HttpLog),
}

/// How a [`VerifiedLog`] follows its source.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// How long answers are given without authenticated contact: a feed that shows our head as its
    /// own, or a head statement that is as new. Measured by the monotonic clock, the age of a statement
    /// by the wall clock. Default 60 s; shorter reacts sooner to a frozen feed, longer bridges longer
    /// outages of the source.
    pub max_staleness: Duration,
    /// How long a source may be behind what was verified before that counts as a rollback. A replica
    /// or standby that lags for a moment is forgiven, but never confirms anything. Default 10 s.
    pub rollback_grace: Duration,
    /// How far ahead of our clock an event or a head statement may lie. Default 5 s.
    pub clock_skew: Duration,
    /// A file that keeps the verified log across restarts, in its published form; it is written
    /// atomically and synced. With it a restarted service still refuses rollback and fork. One
    /// process each, in a folder that exists. Default none: then a first contact is judged by the anchor alone.
    pub path: Option<PathBuf>,
    /// The wall clock. Default the machine's.
    pub clock: Clock,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            max_staleness: Duration::from_secs(60),
            rollback_grace: Duration::from_secs(10),
            clock_skew: Duration::from_secs(5),
            path: None,
            clock: Clock::system(),
        }
    }
}

impl LogOptions {
    /// Sets how long answers are given without contact.
    #[must_use]
    pub fn max_staleness(mut self, max_staleness: Duration) -> Self {
        self.max_staleness = max_staleness;
        self
    }

    /// Sets how long a source may be behind.
    #[must_use]
    pub fn rollback_grace(mut self, rollback_grace: Duration) -> Self {
        self.rollback_grace = rollback_grace;
        self
    }

    /// Sets the file that keeps the log across restarts.
    #[must_use]
    pub fn path(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }
}

/// A key log that is followed in the background and verified event by event. Clones share it; the
/// last one dropped ends the following.
///
/// Questions are answered at once and from memory. Without recent contact the answer is an error,
/// [`CheckError::Stale`], because a feed that has been cut off may hide a taint. It reconnects by
/// itself; only proof that its source has rolled back, forked or belongs to somebody else ends the
/// following ([`terminal_error`](Self::terminal_error)): then it stays on its branch until that is stale.
///
/// If the only fault of a new event is a `createdAt` in the future, the head stays and the event is
/// tried again, but the generation that it taints is dead from now on.
#[derive(Clone, Debug)]
pub struct VerifiedLog {
    shared: Arc<Shared>,
    _task: Arc<AbortOnDropHandle<()>>,
}

impl VerifiedLog {
    /// Starts to follow a source. Returns at once, see [`ready`](Self::ready); must be called within
    /// a tokio runtime. Fails only if the file of an earlier run can't be used.
    pub fn follow(
        source: LogSource,
        anchor: Anchor,
        options: LogOptions,
    ) -> Result<Self, OpenError> {
        let stored = match &options.path {
            Some(path) => store::load(path, &anchor)?,
            None => None,
        };
        let shared = Arc::new(Shared::new(anchor, options, stored));
        let task = tokio::spawn(follow::run(source, Arc::clone(&shared)));
        Ok(Self { shared, _task: Arc::new(AbortOnDropHandle::new(task)) })
    }

    /// Waits until questions can be answered: there is a verified log and the source has confirmed
    /// it. Fails when the following has ended for good.
    pub async fn ready(&self) -> Result<KeyLog, Arc<TerminalError>> {
        self.shared.ready().await
    }

    /// The verified log as it is now, however stale; `None` before the first contact ever. It is a
    /// snapshot and cheap: its events are shared.
    #[must_use]
    pub fn snapshot(&self) -> Option<KeyLog> {
        self.shared.snapshot()
    }

    /// The verified log if it is fresh enough to answer from.
    pub fn fresh(&self) -> Result<KeyLog, CheckError> {
        self.shared.fresh()
    }

    /// The newest head statement that the source has shown, for readers of ours who need not trust us; `None`
    /// when there is none that shows our head as the head within `max_staleness`.
    #[must_use]
    pub fn head_statement(&self) -> Option<HeadStatement> {
        self.shared.statement()
    }

    /// A channel that changes whenever the log does: a new head, or a taint learned early.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Option<KeyLog>> {
        self.shared.changes()
    }

    /// Is this the endorsement of `public_key` for `purpose`, valid now? Older generations count as
    /// live within the look-back `window`.
    pub fn check_endorsement(
        &self,
        endorsement: &SignedPayload,
        purpose: &str,
        public_key: &PublicKey,
        window: Duration,
    ) -> Result<VerifiedEndorsement, CheckError> {
        let log = self.fresh()?;
        endorsement
            .verify_endorsement(&log, purpose, public_key, self.shared.now(), window)
            .map_err(CheckError::Endorsement)
    }

    /// Does an endorsement that was verified before still hold? Costs no signature check.
    pub fn recheck_endorsement(
        &self,
        endorsement: &VerifiedEndorsement,
        window: Duration,
    ) -> Result<(), CheckError> {
        let log = self.fresh()?;
        endorsement.recheck(&log, self.shared.now(), window).map_err(CheckError::Endorsement)
    }

    /// Why the last attempt to reach or believe the source failed; `None` while all is well.
    #[must_use]
    pub fn problem(&self) -> Option<Arc<Problem>> {
        self.shared.problem()
    }

    /// Why the following has ended for good, if it has. Report it: somebody must look.
    #[must_use]
    pub fn terminal_error(&self) -> Option<Arc<TerminalError>> {
        self.shared.terminal_error()
    }

    /// Waits until the following has ended for good.
    pub async fn wait_terminal_error(&self) -> Arc<TerminalError> {
        self.shared.wait_terminal_error().await
    }

    /// Asks a polled source now instead of at the next interval. A feed needs no asking.
    pub fn refresh(&self) {
        self.shared.poke.notify_one();
    }

    /// The wall clock by which this log judges.
    pub(crate) fn clock(&self) -> &Clock {
        &self.shared.options.clock
    }
}
