//! Calls of a caller who accepts leaves of batches.

use std::sync::Arc;
use std::time::Duration;

use hsmd_chain::{BatchedSignature, HeadStatement, SignedBatch, SignedPayload};
use hsmd_proto::v1;

use crate::rpc::signed;
use crate::{Refusal, Rpc};

impl Rpc {
    /// Has a key endorsed, alone or as a leaf.
    ///
    /// # Errors
    /// The daemon's refusal.
    pub async fn endorse_accepting(
        &self,
        purpose: &str,
        public_key: &str,
        ttl: Duration,
    ) -> Result<SignedPayload, Refusal> {
        let ttl = prost_types::Duration::try_from(ttl).expect("a ttl");
        let (purpose, public_key) = (purpose.into(), public_key.into());
        let request =
            v1::EndorseRequest { purpose, public_key, ttl: Some(ttl), accept_batch: true };
        let reply = self.signer.clone().endorse(request).await?.into_inner();
        Ok(one(reply.endorsement, reply.leaf, reply.batch))
    }

    /// Has a JSON document signed, alone or as a leaf.
    ///
    /// # Errors
    /// The daemon's refusal.
    pub async fn sign_accepting(&self, payload: &str) -> Result<SignedPayload, Refusal> {
        let payload = payload.to_owned().into_bytes().into();
        let request = v1::SignRequest { payload, accept_batch: true };
        let reply = self.signer.clone().sign(request).await?.into_inner();
        Ok(one(reply.signed, reply.leaf, reply.batch))
    }

    /// Has several signed, all alone or all as leaves.
    ///
    /// # Errors
    /// The daemon's refusal.
    pub async fn sign_batch_accepting(
        &self,
        payloads: &[String],
    ) -> Result<Vec<SignedPayload>, Refusal> {
        let payloads = payloads.iter().map(|payload| payload.clone().into_bytes().into());
        let request = v1::SignBatchRequest { payloads: payloads.collect(), accept_batch: true };
        let reply = self.signer.clone().sign_batch(request).await?.into_inner();
        let v1::SignBatchResponse { signed: bodies, leaves, batches } = reply;
        assert!(bodies.is_empty() || leaves.is_empty(), "leaves and bodies in one reply");
        let batches: Vec<_> = batches.into_iter().map(batch).collect();
        let bodies = bodies.into_iter().map(|body| signed(body).into());
        Ok(bodies
            .chain(leaves.into_iter().map(|item| {
                let batch = &batches[item.batch as usize];
                leaf(item, Arc::clone(batch))
            }))
            .collect())
    }

    /// The statement that comes with the head, if there is one.
    pub async fn head_statement(&self) -> Option<HeadStatement> {
        let response = self.key_log.clone().get_head(v1::GetHeadRequest {}).await;
        statement(response.expect("the head").into_inner().statement)
    }
}

/// A head statement of a reply or a heartbeat, well formed but not verified.
pub fn statement(statement: Option<v1::HeadStatement>) -> Option<HeadStatement> {
    let v1::HeadStatement { body, signature } = statement?;
    let body = std::str::from_utf8(&body).expect("a body of UTF-8");
    let json = format!(r#"{{"body":{body},"signature":"{signature}"}}"#);
    Some(HeadStatement::parse(json).expect("a head statement"))
}

fn one(
    body: Option<v1::SignedBody>,
    item: Option<v1::Leaf>,
    tree: Option<v1::SignedBody>,
) -> SignedPayload {
    match (body, item, tree) {
        (Some(body), None, None) => signed(body).into(),
        (None, Some(item), Some(tree)) => leaf(item, batch(tree)),
        other => panic!("neither a body nor a leaf with its batch: {other:?}"),
    }
}

fn batch(body: v1::SignedBody) -> Arc<SignedBatch> {
    Arc::new(SignedBatch::new(signed(body)).expect("the body of a batch"))
}

fn leaf(leaf: v1::Leaf, batch: Arc<SignedBatch>) -> SignedPayload {
    let payload = String::from_utf8(leaf.payload.to_vec()).expect("a payload of UTF-8");
    let leaf = BatchedSignature::from_parts(payload, leaf.index, &leaf.path, batch);
    leaf.expect("a well-formed leaf").into()
}
