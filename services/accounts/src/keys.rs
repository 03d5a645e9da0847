//! The keys that sign tokens: this replica's own, and the list of all replicas' that is published.
//!
//! `keeper` maintains both in the background; questions are answered from memory. A key is listed while
//! its endorsement verifies against the key log as it is now, so a taint takes effect with the event.

mod keeper;
mod listing;
mod own;
mod rows;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use hsmd_chain::{Digest, PublicKey, Timestamp, VerifiedEndorsement};
use hsmd_client::VerifiedLog;
use hsmd_service::{Hsm, log_problem};
use hsmd_support::chain;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

pub(crate) use listing::Jwks;
pub(crate) use own::OwnKey;
pub(crate) use rows::{withdraw, withdraw_all};

use crate::{config::TokensConfig, database::Database};
use keeper::Keeper;
use listing::Listed;

/// The purpose of the endorsements, which is the accounts' alone.
pub(crate) const PURPOSE: &str = "jwt";

/// How long a replica's key that has lost its endorsement keeps the list from being answered without it.
const WAIT: Duration = Duration::from_secs(30);

/// The keys. Clones share them; the last one dropped ends the background task.
#[derive(Clone)]
pub(crate) struct Keys {
    shared: Arc<Shared>,
    _task: Arc<AbortOnDropHandle<()>>,
}

struct Shared {
    log: VerifiedLog,
    config: TokensConfig,
    /// How long the list is believed without the database.
    max_staleness: Duration,
    /// Held for a moment and never across an await.
    state: RwLock<State>,
}

/// What the keeper knows.
struct State {
    own: Arc<OwnKey>,
    /// Our endorsement as the database has it.
    published: Option<VerifiedEndorsement>,
    /// Whether verifiers have had the time to learn our key.
    signs: bool,
    listed: Vec<Listed>,
    read_at: Option<Instant>,
    /// The living replicas' keys that have no live endorsement, and since when.
    waiting: HashMap<PublicKey, Instant>,
}

/// What signs one token.
pub(crate) struct Signer {
    pub(crate) key: Arc<OwnKey>,
    /// When the endorsement ends that verifiers find.
    pub(crate) end: Timestamp,
    pub(crate) generation: Digest,
}

/// Why no token is signed and no list answered now. It passes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotReady {
    /// hsmd, or the database, has not been heard of for too long.
    #[error("the key log or the list of keys is stale")]
    Stale,
    /// A key waits for its endorsement.
    #[error("a signing key waits for its endorsement")]
    Unendorsed,
    /// Verifiers don't know the key yet.
    #[error("the signing key is not known to verifiers yet")]
    Unlisted,
}

impl Keys {
    /// Makes this replica's key and begins; must be called within a tokio runtime.
    pub(crate) fn start(
        hsm: Hsm,
        database: Database,
        migrated: watch::Receiver<bool>,
        config: TokensConfig,
        max_staleness: Duration,
    ) -> Self {
        let own = Arc::new(OwnKey::new(&hsm, config.endorsement));
        let state = State {
            own,
            published: None,
            signs: false,
            listed: Vec::new(),
            read_at: None,
            waiting: HashMap::new(),
        };
        let (log, state) = (hsm.log.clone(), RwLock::new(state));
        let shared = Arc::new(Shared { log, config, max_staleness, state });
        let keeper = Keeper::new(Arc::clone(&shared), hsm, database, migrated);
        let task = Arc::new(AbortOnDropHandle::new(tokio::spawn(keeper.run())));
        Self { shared, _task: task }
    }

    /// What may sign a token now: nothing while the list of keys, in which verifiers look, is withheld as
    /// stale. Another replica's key that waits for its endorsement does not keep this one from signing.
    pub(crate) fn signer(&self) -> Result<Signer, NotReady> {
        self.shared.read(|state| {
            self.shared.check_fresh(state)?;
            let published = state.published.as_ref().ok_or(NotReady::Unendorsed)?;
            if !self.shared.is_live(published) {
                return Err(NotReady::Unendorsed);
            }
            if !state.signs {
                return Err(NotReady::Unlisted);
            }
            Ok(Signer {
                key: Arc::clone(&state.own),
                end: published.expiration(),
                generation: published.generation_id(),
            })
        })
    }

    /// The published list. It is withheld while a living replica's key waits for its endorsement:
    /// verifiers keep what they have on an error, but not on an answer without the key.
    pub(crate) fn jwks(&self) -> Result<Jwks, NotReady> {
        self.shared.read(|state| {
            self.shared.check_fresh(state)?;
            let live: Vec<_> = state
                .listed
                .iter()
                .filter(|it| it.endorsement().is_some_and(|it| self.shared.is_live(it)))
                .collect();
            let is_live = |kid: &PublicKey| live.iter().any(|it| it.kid() == kid);
            let waits = |kid: &PublicKey| {
                !is_live(kid) && state.waiting.get(kid).is_none_or(|since| since.elapsed() < WAIT)
            };
            let others = state.listed.iter().any(|it| it.lives() && waits(it.kid()));
            // Our own first endorsement does not keep users from the others' keys.
            let own = live.is_empty() && waits(state.own.kid());
            if others || own {
                return Err(NotReady::Unendorsed);
            }
            Ok(Jwks::of(&live))
        })
    }

    /// Which generation has endorsed this replica's key, as the database has it.
    pub(crate) fn generation(&self) -> Option<Digest> {
        self.shared.read(|state| {
            let live = state.published.as_ref().filter(|it| self.shared.is_live(it));
            live.map(VerifiedEndorsement::generation_id)
        })
    }

    /// Whether a key is live: listed, and endorsed now.
    pub(crate) fn is_live(&self, kid: &PublicKey) -> Result<bool, NotReady> {
        self.shared.read(|state| {
            self.shared.check_fresh(state)?;
            let listed = state.listed.iter().find(|it| it.kid() == kid);
            let endorsement = listed.and_then(Listed::endorsement);
            Ok(endorsement.is_some_and(|it| self.shared.is_live(it)))
        })
    }

    /// Says that this replica stops, so that no other waits for its key.
    pub(crate) async fn stop(&self, database: &Database) {
        let kid = self.shared.read(|state| *state.own.kid());
        if let Err(error) = database.timed(rows::stop(&kid, database.pool())).await {
            tracing::warn!(error = %chain(&error), "the others are not told of the stop");
        }
    }

    /// What keeps this replica from signing, as a public sentence.
    pub(crate) fn problem(&self) -> Option<String> {
        if let Some(problem) = log_problem(&self.shared.log) {
            return Some(problem);
        }
        let problem = self.signer().err()?;
        let cause = self.shared.read(|state| state.own.problem());
        Some(match (problem, cause) {
            (NotReady::Unendorsed, Some(cause)) => format!("{problem}: {cause}"),
            _ => problem.to_string(),
        })
    }
}

impl Shared {
    fn is_live(&self, endorsement: &VerifiedEndorsement) -> bool {
        // An endorsement outlives the generation that made it by no more than its own time.
        self.log.recheck_endorsement(endorsement, self.config.endorsement).is_ok()
    }

    fn check_fresh(&self, state: &State) -> Result<(), NotReady> {
        let read = state.read_at.is_some_and(|at| at.elapsed() < self.max_staleness);
        if read && self.log.fresh().is_ok() { Ok(()) } else { Err(NotReady::Stale) }
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, write: impl FnOnce(&mut State) -> T) -> T {
        write(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }
}
