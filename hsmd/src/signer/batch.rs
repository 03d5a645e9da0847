//! Batches: one signature for a Merkle tree over the documents of many requests (docs/formats.md,
//! section 4). When the token becomes free, all that waits and may share a tree is signed at once; a
//! request that waits alone gets a body of its own, so that none waits for others.
//!
//! The token's thread hashes the tree and signs its root. The paths are made where the replies are, and the
//! replies are handed out by an async task: the token's thread wakes one worker for the whole tree.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use hsmd_chain::{Digest, MerkleTree};
use tokio::runtime::Handle;

use super::queue::{Job, Queued};
use super::{Document, SignError, Signed, SignedDocument, TokenState};
use crate::authz::Caller;

/// The most bytes of documents in one tree, unless one request alone has more: it bounds the time for which
/// the token waits while a tree is hashed to a few milliseconds.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// With which other documents one may share a tree. The first element of a path is the hash of the
/// neighbour, and a short document can be guessed from its hash: so a caller's documents stay among
/// themselves. Endorsements are public.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Company {
    /// All endorsements.
    Endorsements,
    /// The documents of this caller.
    Caller(Caller),
}

/// A signed tree, shared by all of its leaves.
#[derive(Debug)]
pub struct SignedTree {
    /// The batch's body, with its signature.
    pub signed: Signed,
    tree: MerkleTree,
}

/// A document and its place in a signed tree.
#[derive(Debug)]
pub struct Leaf {
    /// The document's exact text.
    pub payload: String,
    /// Its number in the tree.
    pub index: u32,
    /// The tree.
    pub tree: Arc<SignedTree>,
}

impl Leaf {
    /// The inclusion path, from the leaf upwards.
    pub fn path(&self) -> Vec<Digest> {
        self.tree.tree.path(self.index).unwrap_or_default()
    }
}

/// What a tree may still take.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    documents: usize,
    bytes: usize,
}

impl Space {
    /// That of an empty tree of at most so many documents.
    pub fn new(documents: usize) -> Self {
        Self { documents, bytes: MAX_BYTES }
    }

    /// Takes the first request, whatever its size: it is signed in any case.
    pub fn begin(&mut self, job: &Queued) {
        self.documents = self.documents.saturating_sub(job.documents());
        self.bytes = self.bytes.saturating_sub(job.bytes());
    }

    /// Takes a further request, if all of it fits.
    pub fn take(&mut self, job: &Queued) -> bool {
        match (self.documents.checked_sub(job.documents()), self.bytes.checked_sub(job.bytes())) {
            (Some(documents), Some(bytes)) => {
                *self = Self { documents, bytes };
                true
            }
            _ => false,
        }
    }
}

/// Signs the documents of several requests as one tree and has `runtime` answer each of them. The receiver's
/// channel is closed when all are answered.
pub fn sign_tree(
    token_state: &mut TokenState,
    jobs: Vec<Queued>,
    runtime: &Handle,
) -> Receiver<Infallible> {
    let mut texts = Vec::new();
    let mut waiting = Vec::with_capacity(jobs.len());
    for queued in jobs {
        let begin = texts.len();
        let reply = match queued.job {
            Job::One { document, reply } => {
                texts.push(document.into_text());
                Reply::One(reply)
            }
            Job::Several { rest, reply, .. } => {
                texts.extend(rest.map(Document::into_text));
                Reply::Several(reply)
            }
        };
        waiting.push((reply, texts.len() - begin));
    }
    let tree = MerkleTree::new(texts.iter().map(String::as_str))
        .map_err(|error| SignError::Token(error.to_string()))
        .and_then(|tree| {
            let signed = token_state.sign_tree(&tree)?;
            Ok(Arc::new(SignedTree { signed, tree }))
        });
    let (answering, answered) = sync_channel(0);
    runtime.spawn(async move {
        answer_all(&tree, texts, waiting);
        drop(answering);
    });
    answered
}

fn answer_all(
    tree: &Result<Arc<SignedTree>, SignError>,
    texts: Vec<String>,
    waiting: Vec<(Reply, usize)>,
) {
    let mut leaves = (0..).zip(texts);
    for (reply, count) in waiting {
        let leaves = leaves.by_ref().take(count);
        reply.send(tree.clone().map(|tree| {
            let leaf = |(index, payload)| Leaf { payload, index, tree: Arc::clone(&tree) };
            leaves.map(leaf).map(SignedDocument::Leaf).collect()
        }));
    }
}

/// Who waits for documents of a tree.
enum Reply {
    One(super::queue::Reply<SignedDocument>),
    Several(super::queue::Reply<Vec<SignedDocument>>),
}

impl Reply {
    fn send(self, answer: Result<Vec<SignedDocument>, SignError>) {
        // A send fails when the caller has left, who needs no answer then.
        match self {
            Self::Several(reply) => drop(reply.send(answer)),
            Self::One(reply) => {
                let one = answer.and_then(|leaves| {
                    leaves.into_iter().next().ok_or(SignError::NotActive("the tree has no leaf"))
                });
                drop(reply.send(one));
            }
        }
    }
}
