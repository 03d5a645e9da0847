//! What the key signs for a batch, written and read in its one form.

use serde::Deserialize;

use super::tree::{MAX_SIZE, MerkleTree};
use crate::cesr::{CesrError, Digest};

/// The purpose of a batch's body, reserved for it.
pub const PURPOSE: &str = "batch";

/// `{"purpose":"batch","root":"E…","size":N}`: the payload of a batch's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchPayload {
    root: Digest,
    size: u32,
}

/// Why a payload is not that of a batch.
#[derive(Debug, thiserror::Error)]
pub enum BatchPayloadError {
    /// Not one JSON object with exactly the three members.
    #[error("malformed JSON or missing, unknown or repeated members")]
    Malformed(#[source] serde_json::Error),
    /// The purpose is not `batch`.
    #[error("the purpose is not batch")]
    Purpose,
    /// `root` is no digest.
    #[error("malformed root")]
    Root(#[source] CesrError),
    /// `size` is not from 1 to [`MAX_SIZE`].
    #[error("a batch has 1 to 16384 payloads, not {0}")]
    Size(u32),
    /// The members are right, but not written in the one form.
    #[error("not in canonical form")]
    NotCanonical,
}

impl BatchPayload {
    /// The payload for a tree.
    pub fn of(tree: &MerkleTree) -> Self {
        Self { root: tree.root(), size: tree.size() }
    }

    /// Reads a payload's exact text; any other text of the same values is refused.
    pub fn parse(text: &str) -> Result<Self, BatchPayloadError> {
        let members: Members<'_> =
            serde_json::from_str(text).map_err(BatchPayloadError::Malformed)?;
        if members.purpose != PURPOSE {
            return Err(BatchPayloadError::Purpose);
        }
        let root = members.root.parse().map_err(BatchPayloadError::Root)?;
        let size = members.size;
        if !(1..=MAX_SIZE).contains(&size) {
            return Err(BatchPayloadError::Size(size));
        }
        let payload = Self { root, size };
        if payload.text() != text {
            return Err(BatchPayloadError::NotCanonical);
        }
        Ok(payload)
    }

    /// The one text.
    pub fn text(&self) -> String {
        let Self { root, size } = self;
        format!(r#"{{"purpose":"{PURPOSE}","root":"{root}","size":{size}}}"#)
    }

    /// The root of the tree.
    pub fn root(&self) -> Digest {
        self.root
    }

    /// The number of leaves.
    pub fn size(&self) -> u32 {
        self.size
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members<'a> {
    purpose: &'a str,
    root: &'a str,
    size: u32,
}
