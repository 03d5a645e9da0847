//! Batches: one signature for up to 16,384 payloads (docs/formats.md §4).
//!
//! The key signs a body that names the root of a Merkle tree and its size; each payload is a leaf
//! and comes with its path to the root. [`MerkleTree`] makes the roots and paths,
//! [`BatchedSignature`] is what is published, and [`SignedPayload`](crate::SignedPayload) verifies it.

mod memory;
mod payload;
mod signed;
mod tree;

pub(crate) use memory::VerifiedBatches;
pub use payload::{BatchPayload, BatchPayloadError, PURPOSE};
pub use signed::{BatchFormError, BatchedSignature, SignedBatch};
pub use tree::{MAX_SIZE, MerkleTree, ProofError, SizeError};
