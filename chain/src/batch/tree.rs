//! The Merkle tree of RFC 9162 section 2.1, with BLAKE3-256 as its hash.
//!
//! Written out: crates for this tree keep their own proof formats, and none takes BLAKE3 as it is.
//! A level's last node without a sibling moves up unchanged, which gives the RFC's shape.

use crate::cesr::Digest;

/// The most leaves that a batch may have.
pub const MAX_SIZE: u32 = 16_384;

type Hash = [u8; 32];

/// All nodes of a tree, for the maker of a batch.
#[derive(Debug, Clone)]
pub struct MerkleTree {
    /// The leaves' hashes first, the root alone last.
    levels: Vec<Vec<Hash>>,
    size: u32,
}

/// No tree can be made of so many leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a batch has 1 to 16384 payloads, not {found}")]
pub struct SizeError {
    /// How many there are.
    pub found: u64,
}

/// Why a path does not prove that a payload is a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The tree has no leaf of this index.
    #[error("index {index} in a tree of {size}")]
    Index {
        /// The index.
        index: u32,
        /// The number of leaves.
        size: u32,
    },
    /// The path has not the one length that fits index and size.
    #[error("the path has {found} hashes, not {expected}")]
    PathLength {
        /// The length for this index and size.
        expected: usize,
        /// The length of the path.
        found: usize,
    },
    /// The path leads from the payload to another root.
    #[error("the path does not lead to the root")]
    Root,
}

impl MerkleTree {
    /// Hashes the leaves, given as their payloads' exact texts, and all nodes over them.
    pub fn new<'a>(payloads: impl IntoIterator<Item = &'a str>) -> Result<Self, SizeError> {
        let leaves: Vec<Hash> =
            payloads.into_iter().map(|payload| leaf_hash(payload.as_bytes())).collect();
        let size = match u32::try_from(leaves.len()) {
            Ok(size @ 1..=MAX_SIZE) => size,
            _ => return Err(SizeError { found: leaves.len() as u64 }),
        };
        let mut levels = vec![leaves];
        while let Some(level) = levels.last().filter(|level| level.len() > 1) {
            let above = level.chunks(2).map(|pair| match pair {
                [left, right] => node_hash(left, right),
                _ => pair[0],
            });
            levels.push(above.collect());
        }
        Ok(Self { levels, size })
    }

    /// The number of leaves, 1 to [`MAX_SIZE`].
    pub fn size(&self) -> u32 {
        self.size
    }

    /// MTH of the RFC: the hash of the whole tree.
    pub fn root(&self) -> Digest {
        Digest::from_raw(&self.levels[self.levels.len() - 1][0])
    }

    /// PATH of the RFC: the siblings of the nodes from a leaf to the root, from the leaf upwards.
    /// `None` if the tree has no such leaf.
    pub fn path(&self, index: u32) -> Option<Vec<Digest>> {
        if index >= self.size {
            return None;
        }
        let mut node = usize::try_from(index).ok()?;
        let mut path = Vec::with_capacity(self.levels.len());
        for level in &self.levels {
            path.extend(level.get(node ^ 1).map(Digest::from_raw));
            node /= 2;
        }
        Some(path)
    }
}

/// Checks that `payload` is leaf `index` of the tree of this size and root, as section 2.1.3.2 of
/// the RFC says.
pub(super) fn verify_inclusion(
    payload: &str,
    index: u32,
    path: &[Digest],
    size: u32,
    root: &Digest,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Index { index, size });
    }
    let (expected, found) = (path_length(index, size), path.len());
    if found != expected {
        return Err(ProofError::PathLength { expected, found });
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = leaf_hash(payload.as_bytes());
    let mut path = path.iter().map(Digest::to_raw);
    while last > 0 {
        if has_sibling(node, last) {
            let sibling = path.next().ok_or(ProofError::Root)?;
            let on_the_left = node % 2 == 1;
            hash =
                if on_the_left { node_hash(&sibling, &hash) } else { node_hash(&hash, &sibling) };
        }
        (node, last) = (node / 2, last / 2);
    }
    if hash == root.to_raw() { Ok(()) } else { Err(ProofError::Root) }
}

/// The length of the path from leaf `index` to the root of a tree of `size` leaves.
fn path_length(index: u32, size: u32) -> usize {
    let (mut node, mut last, mut length) = (index, size - 1, 0);
    while last > 0 {
        length += usize::from(has_sibling(node, last));
        (node, last) = (node / 2, last / 2);
    }
    length
}

/// Whether a node has a sibling on its level, whose last node is `last`.
fn has_sibling(node: u32, last: u32) -> bool {
    node % 2 == 1 || node < last
}

fn leaf_hash(payload: &[u8]) -> Hash {
    blake3::Hasher::new().update(&[0x00]).update(payload).finalize().into()
}

fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut input = [0x01; 65];
    input[1..33].copy_from_slice(left);
    input[33..].copy_from_slice(right);
    blake3::hash(&input).into()
}
