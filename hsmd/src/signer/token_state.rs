//! The state of one token: its session, and the generation that signs on it. The token's thread owns it.
//!
//! Nothing else opens a session. A session that is lost is opened again here, its keys found again and
//! bound again by a verified signature, with backoff and without a restart.

mod binding;
mod first_tries;
mod journal_copy;
mod owner;
mod pairs;
mod records;
mod session;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hsmd_chain::{Body, Event, MerkleTree, Signature, SignedEvent, SigningInput, Timestamp};
use parking_lot::Mutex;

pub use owner::lease_for;

use super::liveness::Liveness;
use super::{Document, Generation, ReleaseCheck, SignError, Signed};
use crate::clock::Clock;
use crate::config::TokenConfig;
use crate::token::{Class, Inventory, KeyHandle, Modules, OpenToken, TokenError};
use binding::bind;

const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_AT_MOST: Duration = Duration::from_secs(2);

/// What others may know of a token without asking its thread.
#[derive(Clone, Debug, Default)]
pub struct TokenReport {
    /// The serial number, once known.
    pub serial: String,
    /// Whether a logged-in session is open.
    pub ready: bool,
    /// Why not.
    pub problem: String,
    /// Whether only a person can change that (a refused PIN).
    pub latched: bool,
    /// Why the token holds no copy of the journal; none where it does or may.
    pub no_journal_copy: Option<String>,
}

/// One token: its session, if open, and the generation that signs on it, if any.
#[derive(Debug)]
pub struct TokenState {
    config: TokenConfig,
    state_dir: PathBuf,
    modules: Arc<Modules>,
    clock: Clock,
    session: Option<OpenToken>,
    /// The token's key among all tokens, once it has been open.
    token_key: Option<String>,
    active: Option<Active>,
    was_lost: bool,
    /// When a signature was last verified.
    verified_at: Option<Instant>,
    retry_at: Option<Instant>,
    backoff: Duration,
    release_check: Arc<ReleaseCheck>,
    /// The token's place in the configuration.
    index: usize,
    /// The claim under which this daemon uses the token; none where it holds no records.
    claim: Option<owner::Claim>,
    liveness: Arc<Liveness>,
    report: Arc<Mutex<TokenReport>>,
}

#[derive(Debug)]
struct Active {
    generation: Arc<Generation>,
    /// CKA_ID of its key.
    id: Vec<u8>,
    key: Option<KeyHandle>,
}

impl TokenState {
    #[expect(clippy::too_many_arguments, reason = "built once, in the worker")]
    pub fn new(
        index: usize,
        config: TokenConfig,
        state_dir: PathBuf,
        modules: Arc<Modules>,
        clock: Clock,
        release_check: Arc<ReleaseCheck>,
        liveness: Arc<Liveness>,
        report: Arc<Mutex<TokenReport>>,
    ) -> Self {
        Self {
            config,
            state_dir,
            modules,
            clock,
            session: None,
            token_key: None,
            active: None,
            was_lost: false,
            verified_at: None,
            retry_at: None,
            backoff: RETRY_FIRST,
            release_check,
            index,
            claim: None,
            liveness,
            report,
        }
    }

    /// Opens the session if it isn't open, whatever the backoff says.
    pub fn open(&mut self) -> Result<(), TokenError> {
        if self.session.is_some() {
            return Ok(());
        }
        let opened =
            OpenToken::open(&self.modules, &self.config, &self.state_dir).and_then(|session| {
                let key = match &self.active {
                    Some(active) => {
                        Some(bind(&session, &active.generation, &active.id, &self.clock)?)
                    }
                    None => None,
                };
                Ok((session, key))
            });
        match opened {
            Ok((session, key)) => {
                if let Some(active) = &mut self.active {
                    active.key = key;
                    self.verified_at = Some(Instant::now());
                }
                tracing::info!(token = self.config.name(), "session open");
                if std::mem::take(&mut self.was_lost) {
                    self.liveness.recovered();
                }
                self.token_key = Some(session.key().to_owned());
                let mut report = self.report.lock();
                let no_journal_copy = report.no_journal_copy.take();
                *report = TokenReport {
                    serial: session.serial().to_owned(),
                    ready: true,
                    no_journal_copy,
                    ..TokenReport::default()
                };
                drop(report);
                self.session = Some(session);
                self.retry_at = None;
                self.backoff = RETRY_FIRST;
                self.look_in_new_session();
                Ok(())
            }
            Err(error) => {
                self.drop_session(&error, error.class());
                Err(error)
            }
        }
    }

    /// All our keys on the token.
    ///
    /// # Errors
    /// [`TokenError`]: as the token answered.
    pub fn inventory(&mut self) -> Result<Inventory, TokenError> {
        self.with_session(OpenToken::inventory)
    }

    /// Signs an event with the key that it reveals, which has this CKA_ID, and verifies what the token
    /// returned.
    ///
    /// # Errors
    /// [`TokenError::KeyMissing`], or as the token answered.
    pub fn sign_event(&mut self, event: Event, id: &[u8]) -> Result<SignedEvent, TokenError> {
        let (text, input) = (event.text(), event.signing_input());
        let signed = self.timed(false, |token_state| {
            token_state.with_session_if_ours(|session| {
                session.sign_as(id, event.public_key(), &input, &text)
            })
        });
        Ok(SignedEvent::new(event, signed?.1))
    }

    /// Makes this generation the one that signs here, after its key, which has this CKA_ID, has been
    /// bound to its public key by a signature that was verified.
    ///
    /// # Errors
    /// [`TokenError`]; then the previous generation goes on signing.
    pub fn activate(&mut self, generation: Arc<Generation>, id: Vec<u8>) -> Result<(), TokenError> {
        let clock = self.clock.clone();
        let key = self.timed(true, |token_state| {
            token_state.with_session(|session| bind(session, &generation, &id, &clock))
        })?;
        self.active = Some(Active { generation, id, key: Some(key) });
        self.verified_at = Some(Instant::now());
        Ok(())
    }

    /// Makes no generation sign here.
    pub fn deactivate(&mut self) {
        self.active = None;
    }

    /// Signs a document with the active generation.
    pub fn sign(&mut self, document: &Document) -> Result<Signed, SignError> {
        self.sign_as_active(|generation| generation.body(document))
    }

    /// Signs a tree's root with the active generation.
    pub fn sign_tree(&mut self, tree: &MerkleTree) -> Result<Signed, SignError> {
        self.sign_as_active(|generation| generation.batch_body(tree))
    }

    fn sign_as_active(
        &mut self,
        body: impl FnOnce(&Generation) -> Body,
    ) -> Result<Signed, SignError> {
        self.look_if_due();
        let generation = self.may_sign()?;
        let body = body(&generation);
        let signature =
            self.sign_body(&body, false).map_err(|error| SignError::Token(error.to_string()))?;
        // It may have taken long: a lease that has run out meanwhile is no reason to drop it.
        self.look_if_due();
        Ok(Signed { body: body.into_text(), signature, generation })
    }

    /// Makes a head statement, which also shows that the token still signs: it is verified. `stamp` is the
    /// time to put into it; without one, where clocks are suspect, a health body is signed instead, which
    /// never leaves the daemon.
    ///
    /// # Errors
    /// [`SignError::Token`]; [`SignError::NotActive`], [`SignError::TaintInProgress`] or
    /// [`SignError::LockLost`] if it may not sign.
    pub fn sign_head(&mut self, stamp: Option<Timestamp>) -> Result<Option<Signed>, SignError> {
        self.look_if_due();
        let generation = self.may_sign()?;
        let body = match stamp {
            Some(stamp) => generation.head_body(stamp),
            None => {
                let now = self.clock.now().map_err(|e| SignError::Token(e.to_string()))?;
                generation.health_body(now)
            }
        };
        match self.sign_body(&body, true) {
            Ok(signature) => {
                Ok(stamp.map(|_| Signed { body: body.into_text(), signature, generation }))
            }
            Err(error) => {
                // There is nothing wrong with what we asked: if the session is thought good, it is not.
                if self.session.is_some() {
                    self.drop_session(&error, Class::Session);
                }
                Err(SignError::Token(error.to_string()))
            }
        }
    }

    /// The active generation, if nothing forbids to sign with it.
    fn may_sign(&self) -> Result<Arc<Generation>, SignError> {
        let active = self.active.as_ref().ok_or(SignError::NotActive("starting"))?;
        if !self.release_check.admits(active.generation.sequence_number()) {
            return Err(SignError::TaintInProgress);
        }
        if !self.release_check.lease_is_valid() {
            let lease = self.release_check.token(self.index);
            if self.session.is_none() && self.release_check.holds_lock() && !lease.is_shut() {
                // It has not been looked at because it is away.
                return Err(SignError::Token(self.closed().to_string()));
            }
            return Err(SignError::LockLost);
        }
        Ok(Arc::clone(&active.generation))
    }

    fn sign_body(&mut self, body: &Body, verify: bool) -> Result<Signature, TokenError> {
        let input = body.signing_input();
        self.timed(true, |token_state| match token_state.sign_once(body, &input, verify) {
            // A signature may be repeated: a lost session is opened again at once, and once.
            Err(error) if token_state.reopen_after(&error) => {
                token_state.sign_once(body, &input, verify)
            }
            result => result,
        })
    }

    fn sign_once(
        &mut self,
        body: &Body,
        input: &SigningInput,
        verify: bool,
    ) -> Result<Signature, TokenError> {
        let (Some(session), Some(active)) = (&self.session, &self.active) else {
            return Err(self.closed());
        };
        let Some(key) = active.key else { return Err(self.closed()) };
        // Under load head statements are rare: then a caller's or a tree's is verified as often.
        let due =
            verify || self.verified_at.is_none_or(|at| at.elapsed() >= self.config.health_interval);
        let public_key = active.generation.public_key();
        let result = session.sign(key, input).and_then(|signature| {
            if due && public_key.verify(body.text().as_bytes(), &signature).is_err() {
                return Err(TokenError::Nonsense("a signature that does not verify"));
            }
            Ok(signature)
        });
        match &result {
            Ok(_) if due => self.verified_at = Some(Instant::now()),
            Ok(_) => {}
            Err(error) => self.lost(error),
        }
        result
    }

    /// Times a signature for the liveness. `ours`: whether a good one shows that callers can have theirs.
    fn timed<T>(
        &mut self,
        ours: bool,
        sign: impl FnOnce(&mut Self) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        self.liveness.begin_signing();
        let result = sign(self);
        self.liveness.end_signing(ours && result.is_ok());
        result
    }
}
