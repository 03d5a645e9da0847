//! The core: everything that can change the history, behind one async mutex.
//!
//! It holds the writer's connection, the journal and the verified log, and knows where the keys are.
//! Two things are always to be done and may be done again: [`append_pending`] appends what the journal
//! holds and the log lacks, [`activate_head`] makes the head's key the active one and destroys earlier
//! keys. What an interrupted rotation left is finished by calling both.

pub mod activate_head;
pub mod append_pending;
mod error;
mod retire;
mod rows;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hsmd_chain::KeyLog;
use tokio::sync::watch;

pub use error::CoreError;
pub use retire::Lasting;

use hsmd_support::chain;
pub use retire::Refused;
pub use rows::{Found, parse_rows, verify_rows};

use crate::clock::{Clock, DatabaseClock};
use crate::config::{Config, Retire};
use crate::daemon::taints::Taints;
use crate::journal::{Entries, Journal, LogFile, encode};
use crate::keylog::{Backend, Claim, KeylogError, Writer};
use crate::ownership::folder::Folder;
use crate::signer::{Signer, TokenState};
use crate::startup::Plan;
use crate::token::TokenError;

/// The newest verified log, for readers; none before it has been read.
pub type Published = watch::Sender<Option<KeyLog>>;

/// Everything that can change the history.
#[derive(Debug)]
pub struct Core {
    pub writer: Option<Writer>,
    /// The server process of a connection that was lost: its transaction may not be over.
    pub lost: Option<Backend>,
    pub journal: Journal,
    /// The verified log, with the taints that are not in the database yet.
    pub log: KeyLog,
    /// The whole log in `state_dir`.
    pub log_file: LogFile,
    pub identity_is_configured: bool,
    /// How many of its events are known to be in the database.
    pub stored: usize,
    /// The taints that wait, to which whatever waits for the database gives way.
    pub taints: Taints,
    /// Where the keys are.
    pub keys: Plan,
    /// Keys of earlier generations that the token does not destroy.
    pub refused: Vec<Refused>,
    /// The head at which the committed next pair was looked at last.
    next_looked_at: Option<u32>,
    /// Why the committed next key can't be used.
    next_key_trouble: Option<String>,
    /// The generation that was made the active one on its token.
    pub signing: Option<u32>,
    pub signer: Arc<Signer>,
    pub published: Published,
    /// What is wrong for longer than a call.
    pub lasting: watch::Sender<Lasting>,
    pub clock: Clock,
    pub skew: Duration,
    pub retire: Retire,
    /// Kept locked, so that no other process uses it.
    pub folder: Folder,
    /// Claims of tokens that the database does not know yet.
    pub unnoted: Vec<Claim>,
}

impl Core {
    /// `stored`: how many events of the log are known to be in the database.
    #[expect(clippy::too_many_arguments, reason = "built in start only")]
    pub fn new(
        config: &Config,
        writer: Option<Writer>,
        journal: Journal,
        log_file: LogFile,
        log: KeyLog,
        stored: usize,
        keys: Plan,
        signer: Arc<Signer>,
        published: Published,
        lasting: watch::Sender<Lasting>,
        clock: Clock,
        taints: Taints,
        folder: Folder,
    ) -> Self {
        Self {
            writer,
            lost: None,
            journal,
            stored,
            log,
            log_file,
            identity_is_configured: config.identity.is_some(),
            taints,
            keys,
            refused: Vec::new(),
            next_looked_at: None,
            next_key_trouble: None,
            signing: None,
            signer,
            published,
            lasting,
            clock,
            skew: config.clock_skew,
            retire: config.retire,
            folder,
            unnoted: Vec::new(),
        }
    }

    /// The writer's connection, to be closed at the end.
    pub fn into_writer(self) -> Option<Writer> {
        self.writer
    }

    /// Whether an event is not known to be in the database, or keys are still to be activated or cleared
    /// away.
    pub fn has_unfinished_work(&self) -> bool {
        self.first_pending().is_some() || self.has_unfinished_keys()
    }

    /// Whether keys are still to be activated, looked at or cleared away.
    pub fn has_unfinished_keys(&self) -> bool {
        self.signing != Some(self.log.head().event().sequence_number())
            || self.next_looked_at != self.signing
            || self.has_keys_to_destroy()
    }

    pub fn disconnect(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.lost = Some(writer.backend().clone());
        }
    }

    /// Proves that the writer's connection still holds the lock; without one nothing is proved, and the
    /// database's clock is not known.
    pub async fn prove_lock(&mut self) -> Result<Option<DatabaseClock>, KeylogError> {
        let Some(writer) = &mut self.writer else { return Ok(None) };
        let asked = Instant::now();
        let proved = self.taints.unless_late(writer.prove_lock()).await;
        let proved = proved.unwrap_or(Err(KeylogError::GivenUp));
        match &proved {
            Ok(database) => {
                self.signer.release_check().renew_lease(asked);
                self.clock.compare_with(*database);
            }
            Err(_) => self.disconnect(),
        }
        proved.map(Some)
    }

    /// Notifies the standbys whether the database has all that our readers have. A session of which that is
    /// not known is given up: its locks go with it.
    pub async fn notify_standbys(&mut self) {
        let complete = self.stored == self.log.events().len();
        let Some(writer) = &mut self.writer else { return };
        let told = self.taints.unless_late(writer.set_complete(complete)).await;
        if let Err(error) = told.unwrap_or(Err(KeylogError::GivenUp)) {
            tracing::warn!(
                error = chain(&error),
                "the standbys are not told whether the log is complete"
            );
            self.disconnect();
        }
    }

    /// Looks whether every token is ours.
    pub async fn look_at_tokens(&self) -> Result<(), CoreError> {
        for token in 0..self.signer.workers().len() {
            self.on_token(token, |token_state| token_state.look()).await?;
        }
        Ok(())
    }

    /// To be called before anything is changed that another daemon could change: when a lease has expired, the
    /// other daemon may be at it.
    pub fn check_lease(&self) -> Result<(), CoreError> {
        if self.signer.release_check().holds_all() { Ok(()) } else { Err(self.not_ours()) }
    }

    fn not_ours(&self) -> CoreError {
        let problem = self.signer.release_check().any_ownership_problem();
        problem.map_or(CoreError::LeaseExpired, CoreError::NotOwner)
    }

    /// Changes something on a token, under the same condition, which the token state checks before each
    /// call that changes anything.
    pub async fn on_token<T: Send + 'static>(
        &self,
        token: usize,
        work: impl FnOnce(&mut TokenState) -> Result<T, TokenError> + Send + 'static,
    ) -> Result<T, CoreError> {
        match self.signer.workers()[token].run(work).await? {
            Err(TokenError::LeaseExpired) => Err(self.not_ours()),
            done => Ok(done?),
        }
    }

    /// Puts a copy of the journal on the token; whether it is there: a token without room for
    /// data objects is no error. A second daemon with a state folder of its own knows only this copy.
    pub async fn copy_to_token(&self, entries: &Entries) -> bool {
        let bytes = encode(entries);
        let token = self.keys.active.token;
        let written =
            self.on_token(token, move |token_state| token_state.write_journal(&bytes)).await;
        if let Err(error) = &written {
            tracing::debug!(error = chain(error), "the token holds no copy of the journal");
        }
        written.is_ok()
    }
}
