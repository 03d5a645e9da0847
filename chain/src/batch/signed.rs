//! A payload with its place in a signed batch, parsed but not verified.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::payload::{BatchPayload, BatchPayloadError};
use super::tree::{ProofError, verify_inclusion};
use crate::body::{BodyFormError, SignedBody};
use crate::cesr::{CesrError, Digest};
use crate::json::from_object;
use crate::payload::{Payload, PayloadError};

/// A batch's body with a signature that was not checked yet. All signatures of a batch share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBatch {
    signed: SignedBody,
    payload: BatchPayload,
}

/// A payload, its proof that it is a leaf, and its batch: a batched signature that was not
/// checked yet. It is well formed: exactly the members of docs/formats.md §4 in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchedSignature {
    payload: String,
    purpose: Option<String>,
    index: u32,
    path: Vec<Digest>,
    batch: Arc<SignedBatch>,
}

/// Why something is no batched signature.
#[derive(Debug, thiserror::Error)]
pub enum BatchFormError {
    /// The bytes are not UTF-8.
    #[error("not UTF-8")]
    NotUtf8(#[source] std::str::Utf8Error),
    /// Not JSON, or missing, unknown or repeated members.
    #[error("malformed JSON or missing, unknown or repeated members")]
    Malformed(#[source] serde_json::Error),
    /// The payload breaks a rule.
    #[error("the payload breaks a rule")]
    Payload(#[source] PayloadError),
    /// An element of the path is no digest.
    #[error("element {position} of the path is malformed")]
    Path {
        /// The element's index.
        position: usize,
        /// What is wrong with its text.
        #[source]
        source: CesrError,
    },
    /// The batch is no signed body.
    #[error("the batch is no signed body")]
    Body(#[source] BodyFormError),
    /// The signed body is not that of a batch.
    #[error("the signed body is no batch")]
    NotBatch(#[source] BatchPayloadError),
    /// The members are right, but the text is not the one of their values.
    #[error("not in canonical form")]
    NotCanonical,
}

impl SignedBatch {
    /// Takes a signed body as the batch that its payload says it is.
    pub fn new(signed: SignedBody) -> Result<Self, BatchFormError> {
        let payload = BatchPayload::parse(signed.payload()).map_err(BatchFormError::NotBatch)?;
        Ok(Self { signed, payload })
    }

    /// The body and its signature.
    pub fn signed(&self) -> &SignedBody {
        &self.signed
    }

    /// What the body says.
    pub fn payload(&self) -> &BatchPayload {
        &self.payload
    }
}

impl BatchedSignature {
    /// Parses the published form, `{"payload":…,"proof":{"index":i,"path":["E…",…]},"batch":…}`;
    /// any other text of the same values is refused, blanks included.
    pub fn parse(json: impl AsRef<[u8]>) -> Result<Self, BatchFormError> {
        let json = std::str::from_utf8(json.as_ref()).map_err(BatchFormError::NotUtf8)?;
        let members: Members<'_> = from_object(json).map_err(BatchFormError::Malformed)?;
        let batch = SignedBody::parse(members.batch.get()).map_err(BatchFormError::Body)?;
        let batch = Arc::new(SignedBatch::new(batch)?);
        let proof: Proof<'_> =
            from_object(members.proof.get()).map_err(BatchFormError::Malformed)?;
        let item = Self::from_parts(members.payload.get(), proof.index, &proof.path, batch)?;
        if item.to_json() != json {
            return Err(BatchFormError::NotCanonical);
        }
        Ok(item)
    }

    /// Takes a payload's exact text, its place in the tree and its batch, as gRPC carries them.
    pub fn from_parts(
        payload: impl Into<String>,
        index: u32,
        path: &[impl AsRef<str>],
        batch: Arc<SignedBatch>,
    ) -> Result<Self, BatchFormError> {
        let payload = Payload::parse(payload.into()).map_err(BatchFormError::Payload)?;
        let element = |(position, text): (usize, &_)| {
            let text: &str = AsRef::as_ref(text);
            text.parse().map_err(|source| BatchFormError::Path { position, source })
        };
        let path = path.iter().enumerate().map(element).collect::<Result<_, _>>()?;
        let purpose = payload.string("purpose");
        Ok(Self { payload: payload.into_text(), purpose, index, path, batch })
    }

    /// The payload's exact text.
    pub fn payload(&self) -> &str {
        &self.payload
    }

    /// The payload's purpose, if it has one.
    pub(crate) fn purpose(&self) -> Option<&str> {
        self.purpose.as_deref()
    }

    /// The number of the leaf, from 0.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The hashes that lead from the leaf to the root.
    pub fn path(&self) -> &[Digest] {
        &self.path
    }

    /// The batch.
    pub fn batch(&self) -> &Arc<SignedBatch> {
        &self.batch
    }

    /// Checks that the payload is the leaf of its index in the batch's tree.
    pub fn check_proof(&self) -> Result<(), ProofError> {
        let (size, root) = (self.batch.payload.size(), self.batch.payload.root());
        verify_inclusion(&self.payload, self.index, &self.path, size, &root)
    }

    /// The published form, compact.
    pub fn to_json(&self) -> String {
        let index = self.index.to_string();
        let SignedBatch { signed, .. } = &*self.batch;
        let length = self.payload.len() + self.path.len() * (Digest::LENGTH + 3);
        let mut json = String::with_capacity(length + signed.text().len() + 192);
        for part in [r#"{"payload":"#, &self.payload, r#","proof":{"index":"#, &index] {
            json.push_str(part);
        }
        json.push_str(r#","path":["#);
        for (position, hash) in self.path.iter().enumerate() {
            json.push_str(if position == 0 { "\"" } else { ",\"" });
            json.push_str(hash.as_str());
            json.push('"');
        }
        for part in [
            r#"]},"batch":{"body":"#,
            signed.text(),
            r#","signature":""#,
            signed.signature().as_str(),
            r#""}}"#,
        ] {
            json.push_str(part);
        }
        json
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
    #[serde(borrow)]
    proof: &'a RawValue,
    #[serde(borrow)]
    batch: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Proof<'a> {
    index: u32,
    #[serde(borrow)]
    path: Vec<&'a str>,
}
