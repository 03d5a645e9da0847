//! The signer: who holds the token's session, which generation signs, and who waits for it.
//!
//! Each token has one named thread, which owns the session with it ([`token_state`]). Requests reach it
//! through a bounded queue ([`queue`]): admin work goes first, signing requests follow, their callers in turn
//! ([`fair`]), many of them under one signature where their callers accept that ([`batch`]). The generation and
//! its key handle are part of the same state, and the body is built, hashed and signed there: a signature
//! always names the key that made it. The [`release_check`] keeps what a tainted generation signed from leaving.

mod batch;
mod busy_poll;
mod fair;
pub mod generation;
pub mod liveness;
pub mod queue;
pub mod release_check;
pub mod token_lease;
pub mod token_state;
pub mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use hsmd_chain::{EndorsementPayload, Payload, Signature};
use tokio::sync::oneshot;

pub use batch::{Company, Leaf, SignedTree};
pub use generation::Generation;
pub use release_check::ReleaseCheck;
pub use token_state::TokenState;
pub use worker::{TokenWorker, WorkerGone};

use crate::authz::SignPermit;
use queue::{Job, Queued};

/// What a caller wants signed: never bytes, never a digest.
#[derive(Debug)]
pub enum Document {
    /// A service's key.
    Endorsement(EndorsementPayload),
    /// A JSON document.
    Payload(Payload),
}

impl Document {
    /// The exact text of its payload.
    fn into_text(self) -> String {
        match self {
            Self::Endorsement(payload) => payload.text(),
            Self::Payload(payload) => payload.into_text(),
        }
    }

    /// How many bytes that has.
    fn length(&self) -> usize {
        match self {
            Self::Endorsement(payload) => payload.length(),
            Self::Payload(payload) => payload.text().len(),
        }
    }
}

/// A signed body with everything that names it.
#[derive(Debug)]
pub struct Signed {
    /// The exact signed text.
    pub body: String,
    /// The signature over it.
    pub signature: Signature,
    /// The generation that the body names and whose key signed.
    pub generation: Arc<Generation>,
}

/// A document as it was signed.
#[derive(Debug)]
pub enum SignedDocument {
    /// In a body of its own.
    Body(Signed),
    /// As a leaf of a batch, for callers who accept that.
    Leaf(Leaf),
}

impl SignedDocument {
    /// The generation that signed.
    pub fn generation(&self) -> &Generation {
        match self {
            Self::Body(signed) => &signed.generation,
            Self::Leaf(leaf) => &leaf.tree.signed.generation,
        }
    }
}

/// Why nothing was signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// Too many requests of the caller, or of all callers, wait already.
    #[error(
        "the caller's share of the {0} places before the token is in use; try again in a moment"
    )]
    QueueFull(usize),
    /// The caller's deadline passed before the token was asked.
    #[error("the deadline passed while the request waited; the token was not asked")]
    Expired,
    /// The daemon has not come so far, or has stopped.
    #[error("no generation is active: {0}")]
    NotActive(&'static str),
    /// The active generation is being tainted.
    #[error("the active generation is being tainted; try again in a moment")]
    TaintInProgress,
    /// The lock, or the token, may be another daemon's.
    #[error("this daemon can't prove that it holds the writer lock and owns the token")]
    LockLost,
    /// The token can't sign now.
    #[error("the token can't sign now: {0}")]
    Token(String),
}

/// All tokens, and which of them holds the active generation.
#[derive(Debug)]
pub struct Signer {
    workers: Vec<TokenWorker>,
    active: AtomicUsize,
    release_check: Arc<ReleaseCheck>,
    /// The most documents of one tree; 0 makes none.
    batch: usize,
}

impl Signer {
    /// A signer over these tokens, in the order of the configuration, with trees of at most `batch`
    /// documents.
    pub fn new(workers: Vec<TokenWorker>, release_check: Arc<ReleaseCheck>, batch: usize) -> Self {
        Self { workers, active: AtomicUsize::new(0), release_check, batch }
    }

    /// The tokens, in the order of the configuration.
    pub fn workers(&self) -> &[TokenWorker] {
        &self.workers
    }

    /// The token that holds the active generation.
    pub fn active(&self) -> &TokenWorker {
        &self.workers[self.active_index()]
    }

    /// Its index.
    pub fn active_index(&self) -> usize {
        self.active.load(Ordering::Acquire)
    }

    /// Sends signing requests to another token from now on.
    pub fn set_active(&self, index: usize) {
        debug_assert!(index < self.workers.len());
        self.release_check.set_active(index);
        self.active.store(index, Ordering::Release);
    }

    /// What may leave.
    pub fn release_check(&self) -> &Arc<ReleaseCheck> {
        &self.release_check
    }

    /// Signs one document; where `accept_batch`, perhaps as a leaf of a batch.
    ///
    /// # Errors
    /// [`SignError`]: nothing was signed, or what was signed may not leave
    /// ([`SignError::TaintInProgress`], [`SignError::LockLost`]).
    pub async fn sign(
        &self,
        permit: &SignPermit,
        document: Document,
        accept_batch: bool,
        deadline: Option<Instant>,
    ) -> Result<SignedDocument, SignError> {
        let (reply, answer) = oneshot::channel();
        let company = self.company(permit, &document, accept_batch);
        let poll = self.submit(permit, Job::One { document, reply }, company, deadline)?;
        let signed = busy_poll::answer(answer, poll).await;
        self.release(signed.unwrap_or(Err(SignError::NotActive("the daemon is stopping")))?)
    }

    /// Signs several documents, in order; none of the signatures is handed out unless all are made.
    ///
    /// # Errors
    /// As [`sign`](Self::sign), for the first that failed.
    pub async fn sign_batch(
        &self,
        permit: &SignPermit,
        documents: Vec<Document>,
        accept_batch: bool,
        deadline: Option<Instant>,
    ) -> Result<Vec<SignedDocument>, SignError> {
        let (reply, answer) = oneshot::channel();
        let company = documents.first().and_then(|first| self.company(permit, first, accept_batch));
        let signed = Vec::with_capacity(documents.len());
        let job = Job::Several { rest: documents.into_iter(), signed, reply };
        self.submit(permit, job, company, deadline)?;
        let signed = answer.await.unwrap_or(Err(SignError::NotActive("the daemon is stopping")))?;
        signed.into_iter().map(|signed| self.release(signed)).collect()
    }

    /// Queues a job; whether it pays to poll for its answer.
    fn submit(
        &self,
        permit: &SignPermit,
        job: Job,
        company: Option<Company>,
        deadline: Option<Instant>,
    ) -> Result<bool, SignError> {
        self.active().submit(Queued::new(permit.caller().clone(), job, company, deadline))
    }

    fn company(
        &self,
        permit: &SignPermit,
        document: &Document,
        accept_batch: bool,
    ) -> Option<Company> {
        (accept_batch && self.batch > 0).then(|| match document {
            Document::Endorsement(_) => Company::Endorsements,
            Document::Payload(_) => Company::Caller(permit.caller().clone()),
        })
    }

    /// The release check before a signature goes to the transport, which checks once more.
    fn release(&self, signed: SignedDocument) -> Result<SignedDocument, SignError> {
        if !self.release_check.admits(signed.generation().sequence_number()) {
            return Err(SignError::TaintInProgress);
        }
        if !self.release_check.lease_is_valid() {
            return Err(SignError::LockLost);
        }
        Ok(signed)
    }
}
