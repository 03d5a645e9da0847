//! Signatures as gRPC carries them: bodies of their own, or leaves with the bodies of their batches.

use std::sync::Arc;

use hsmd_chain::{BatchedSignature, SignedBatch, SignedBody, SignedPayload};
use hsmd_proto::v1;

use crate::CallError;

/// What the daemon signed, as it said so: well formed, but unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The payload and its signature, in the form that the daemon chose.
    pub signed: SignedPayload,
    /// The sequence number of the generation that the daemon names.
    pub sequence_number: u32,
}

impl Signed {
    /// The published form: `{"body":…,"signature":…}`, or `{"payload":…,"proof":…,"batch":…}`.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.signed.to_json()
    }
}

/// A reply under conversion: which call it answers, and whether leaves were asked for.
pub(crate) struct Reply {
    method: &'static str,
    accept_batch: bool,
}

impl Reply {
    pub(crate) fn new(method: &'static str, accept_batch: bool) -> Self {
        Self { method, accept_batch }
    }

    /// The one signature of a reply.
    pub(crate) fn one(
        &self,
        plain: Option<v1::SignedBody>,
        leaf: Option<v1::Leaf>,
        batch: Option<v1::SignedBody>,
    ) -> Result<Signed, CallError> {
        match (plain, leaf) {
            (None, Some(leaf)) if self.accept_batch => {
                self.leaf(leaf, &self.batches(batch.into_iter())?)
            }
            (plain, _) => self.plain(plain.ok_or_else(|| self.malformed("signed"))?),
        }
    }

    /// The signatures of a reply to `count` payloads, in their order.
    pub(crate) fn all(
        &self,
        answer: v1::SignBatchResponse,
        count: usize,
    ) -> Result<Vec<Signed>, CallError> {
        let v1::SignBatchResponse { signed, leaves, batches } = answer;
        let all: Vec<Signed> = if signed.is_empty() && self.accept_batch {
            let batches = self.batches(batches.into_iter())?;
            leaves.into_iter().map(|leaf| self.leaf(leaf, &batches)).collect::<Result<_, _>>()?
        } else {
            signed.into_iter().map(|signed| self.plain(signed)).collect::<Result<_, _>>()?
        };
        if all.len() == count { Ok(all) } else { Err(self.malformed("signed")) }
    }

    fn plain(&self, signed: v1::SignedBody) -> Result<Signed, CallError> {
        let sequence_number = signed.sequence_number;
        Ok(Signed { signed: self.body(signed)?.into(), sequence_number })
    }

    fn leaf(&self, leaf: v1::Leaf, batches: &[Batch]) -> Result<Signed, CallError> {
        let batch = usize::try_from(leaf.batch).ok().and_then(|number| batches.get(number));
        let Batch { signed, sequence_number } = batch.ok_or_else(|| self.malformed("batch"))?;
        let payload = String::from_utf8(leaf.payload.into());
        let payload = payload.map_err(|_| self.malformed("leaf"))?;
        let item =
            BatchedSignature::from_parts(payload, leaf.index, &leaf.path, Arc::clone(signed));
        let item = item.map_err(|_| self.malformed("leaf"))?;
        Ok(Signed { signed: item.into(), sequence_number: *sequence_number })
    }

    fn batches(
        &self,
        batches: impl Iterator<Item = v1::SignedBody>,
    ) -> Result<Vec<Batch>, CallError> {
        let batch = |batch: v1::SignedBody| {
            let sequence_number = batch.sequence_number;
            let signed = SignedBatch::new(self.body(batch)?);
            let signed = Arc::new(signed.map_err(|_| self.malformed("batch"))?);
            Ok(Batch { signed, sequence_number })
        };
        batches.map(batch).collect()
    }

    /// A body with its signature; what the daemon says beside it must be what it says itself.
    fn body(&self, signed: v1::SignedBody) -> Result<SignedBody, CallError> {
        let body = String::from_utf8(signed.body.into()).map_err(|_| self.malformed("body"))?;
        let parsed = SignedBody::from_parts(body, &signed.signature);
        let parsed = parsed.map_err(|_| self.malformed("body"))?;
        if parsed.identity().as_str() != signed.identity {
            return Err(self.malformed("identity"));
        }
        if parsed.generation_id().as_str() != signed.generation_id {
            return Err(self.malformed("generation_id"));
        }
        Ok(parsed)
    }

    fn malformed(&self, field: &'static str) -> CallError {
        CallError::Malformed { method: self.method, field }
    }
}

struct Batch {
    signed: Arc<SignedBatch>,
    sequence_number: u32,
}
