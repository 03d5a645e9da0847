//! `hsmd.v1.Signer`: endorse and sign.

use std::sync::Arc;

use hsmd_chain::EndorsementPayload;
use hsmd_proto::v1;
use hsmd_proto::v1::signer_server::Signer;
use tonic::{Code, Request, Response, Status};

use crate::daemon::state::{Phase, Shared};
use crate::grpc::convert;
use crate::grpc::layers::authorization;
use crate::grpc::layers::context::CallContext;
use crate::grpc::status::{invalid, not_serving, not_signed, status};
use crate::signer::{Document, SignError, SignedDocument, SignedTree};

/// The largest reply that gRPC clients accept by default.
const MAX_REPLY: usize = 4 * 1024 * 1024;

/// What an item of a reply has beside its document: the body's frame with identity and generation, the
/// signature, identity and generation again, numbers and lengths.
const SIGNED_ITEM: usize = 384;

/// What a leaf has beside its document: a path of at most 14 digests of 44 characters.
const LEAF_ITEM: usize = 768;

/// The most documents in a batch.
const MAX_BATCH: usize = 256;

/// The service.
#[derive(Debug)]
pub struct SignerService {
    pub shared: Arc<Shared>,
}

#[tonic::async_trait]
impl Signer for SignerService {
    async fn endorse(
        &self,
        request: Request<v1::EndorseRequest>,
    ) -> Result<Response<v1::EndorseResponse>, Status> {
        let context = CallContext::of(&request)?;
        let request = request.into_inner();
        context.note_purpose(&request.purpose);
        let ttl = convert::ttl(&request)?;
        let public_key = convert::public_key(&request.public_key)?;
        self.check_serving()?;
        let permit = authorization::endorse(&self.shared, &context, &request.purpose, ttl)?;
        let expiration = context
            .at
            .checked_add(ttl)
            .ok_or_else(|| invalid("MALFORMED_TTL", "ttl ends after the year 9999"))?;
        let payload = EndorsementPayload::new(request.purpose.clone(), public_key, expiration)
            .map_err(|error| invalid("MALFORMED_PURPOSE", error.to_string()))?;
        let (document, accept_batch) = (Document::Endorsement(payload), request.accept_batch);
        let signed =
            self.shared.signer.sign(&permit, document, accept_batch, context.deadline).await;
        let signed = signed.map_err(|error| self.refusal(&error))?;
        let Encoded { body, leaf, batch } = encode(&context, &request.purpose, signed, true);
        Ok(Response::new(v1::EndorseResponse {
            endorsement: body,
            expiration: expiration.to_string(),
            leaf,
            batch,
        }))
    }

    async fn sign(
        &self,
        request: Request<v1::SignRequest>,
    ) -> Result<Response<v1::SignResponse>, Status> {
        let context = CallContext::of(&request)?;
        let v1::SignRequest { payload, accept_batch } = request.into_inner();
        let (payload, purpose) = convert::document(payload)?;
        context.note_purpose(&purpose);
        self.check_serving()?;
        let permit = authorization::sign(&self.shared, &context, [purpose.as_str()])
            .map_err(|(_, status)| status)?;
        let document = Document::Payload(payload);
        let signed =
            self.shared.signer.sign(&permit, document, accept_batch, context.deadline).await;
        let signed = signed.map_err(|error| self.refusal(&error))?;
        let Encoded { body, leaf, batch } =
            encode(&context, &purpose, signed, self.shared.audit.records_signatures());
        Ok(Response::new(v1::SignResponse { signed: body, leaf, batch }))
    }

    async fn sign_batch(
        &self,
        request: Request<v1::SignBatchRequest>,
    ) -> Result<Response<v1::SignBatchResponse>, Status> {
        let context = CallContext::of(&request)?;
        let v1::SignBatchRequest { payloads, accept_batch } = request.into_inner();
        if payloads.is_empty() {
            return Err(invalid("MALFORMED_PAYLOAD", "the batch is empty"));
        }
        if payloads.len() > MAX_BATCH {
            let message =
                format!("the batch has {} documents, {MAX_BATCH} are allowed", payloads.len());
            let (code, reason) = (Code::ResourceExhausted, "BATCH_TOO_LARGE");
            return Err(status(code, reason, message, Default::default()));
        }
        let mut documents = Vec::with_capacity(payloads.len());
        let mut purposes = Vec::with_capacity(payloads.len());
        for (position, bytes) in payloads.into_iter().enumerate() {
            let (payload, purpose) =
                convert::document(bytes).map_err(|status| at(position, status))?;
            documents.push(Document::Payload(payload));
            purposes.push(purpose);
        }
        fits(&documents, accept_batch)?;
        context.note_purpose(&purposes[0]);
        self.check_serving()?;
        let asked = purposes.iter().map(String::as_str);
        let permit = authorization::sign(&self.shared, &context, asked)
            .map_err(|(position, status)| at(position, status))?;
        let signed =
            self.shared.signer.sign_batch(&permit, documents, accept_batch, context.deadline).await;
        let signed = signed.map_err(|error| self.refusal(&error))?;
        let recorded = self.shared.audit.records_signatures();
        Ok(Response::new(encode_all(&context, &purposes, signed, recorded)))
    }
}

impl SignerService {
    fn check_serving(&self) -> Result<(), Status> {
        match self.shared.phase() {
            Phase::Serving => Ok(()),
            phase => Err(not_serving(&phase)),
        }
    }

    fn refusal(&self, error: &SignError) -> Status {
        match error {
            SignError::NotActive(_) => not_serving(&self.shared.phase()),
            error => not_signed(error),
        }
    }
}

/// A signature as a reply carries it: a body of its own, or a leaf and the body of its batch.
struct Encoded {
    body: Option<v1::SignedBody>,
    leaf: Option<v1::Leaf>,
    batch: Option<v1::SignedBody>,
}

/// The messages of a signature; from here on the release check decides whether the reply leaves.
fn encode(context: &CallContext, purpose: &str, signed: SignedDocument, recorded: bool) -> Encoded {
    note(context, purpose, &signed, recorded);
    match signed {
        SignedDocument::Body(signed) => {
            Encoded { body: Some(convert::signed_body(signed)), leaf: None, batch: None }
        }
        SignedDocument::Leaf(leaf) => {
            let batch = Some(convert::batch_body(&leaf.tree.signed));
            Encoded { body: None, leaf: Some(convert::leaf(leaf, 0)), batch }
        }
    }
}

/// The same for several documents, in their order. Either all of them are leaves or none is.
fn encode_all(
    context: &CallContext,
    purposes: &[String],
    signed: Vec<SignedDocument>,
    recorded: bool,
) -> v1::SignBatchResponse {
    let mut response = v1::SignBatchResponse::default();
    let mut tree: Option<Arc<SignedTree>> = None;
    for (signed, purpose) in signed.into_iter().zip(purposes) {
        note(context, purpose, &signed, recorded);
        match signed {
            SignedDocument::Body(signed) => response.signed.push(convert::signed_body(signed)),
            SignedDocument::Leaf(leaf) => {
                if tree.as_ref().is_none_or(|tree| !Arc::ptr_eq(tree, &leaf.tree)) {
                    response.batches.push(convert::batch_body(&leaf.tree.signed));
                    tree = Some(Arc::clone(&leaf.tree));
                }
                response.leaves.push(convert::leaf(leaf, response.batches.len() - 1));
            }
        }
    }
    response
}

/// For the record: the digest of a body, or of the document that is a leaf.
fn note(context: &CallContext, purpose: &str, signed: &SignedDocument, recorded: bool) {
    let generation = signed.generation();
    if recorded {
        let body = match signed {
            SignedDocument::Body(signed) => &signed.body,
            SignedDocument::Leaf(leaf) => &leaf.payload,
        };
        context.note_body(purpose, generation.id(), body);
    }
    context.note_signed(generation.sequence_number());
}

/// Refuses a batch whose reply would be larger than what clients accept: nothing is signed then.
fn fits(documents: &[Document], as_leaves: bool) -> Result<(), Status> {
    let beside = if as_leaves { LEAF_ITEM } else { SIGNED_ITEM };
    let payloads = documents.iter().map(|document| match document {
        Document::Payload(payload) => payload.text().len(),
        Document::Endorsement(_) => 0,
    });
    let reply = payloads.sum::<usize>() + documents.len() * beside;
    if reply <= MAX_REPLY {
        return Ok(());
    }
    let message = format!(
        "the reply to this batch would have {reply} bytes, and clients accept {MAX_REPLY}: send less"
    );
    Err(status(Code::ResourceExhausted, "BATCH_TOO_LARGE", message, Default::default()))
}

/// The status of one item, for the batch.
fn at(position: usize, status: Status) -> Status {
    let message = format!("item {position}: {}", status.message());
    let details = tonic::codegen::Bytes::copy_from_slice(status.details());
    Status::with_details(status.code(), message, details)
}
