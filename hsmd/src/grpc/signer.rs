//! `hsmd.v1.Signer`: endorse and sign.

use std::sync::Arc;

use hsmd_chain::EndorsementPayload;
use hsmd_proto::v1;
use hsmd_proto::v1::signer_server::Signer;
use tonic::{Request, Response, Status};
use tracing::Instrument;

use super::MAX_BATCH;
use super::call::Call;
use super::convert;
use super::gate_layer::LeavesAs;
use super::status::{denied, invalid, not_serving, not_signed, status};
use crate::daemon::state::{Phase, Shared};
use crate::signer::{Document, SignError};

/// The service.
#[derive(Debug)]
pub(super) struct SignerService {
    pub(super) shared: Arc<Shared>,
}

#[tonic::async_trait]
impl Signer for SignerService {
    async fn endorse(
        &self,
        request: Request<v1::EndorseRequest>,
    ) -> Result<Response<v1::EndorseResponse>, Status> {
        let mut call = Call::begin(&self.shared, "Endorse", &request)?;
        call.record_always();
        let span = call.span.clone();
        let result = self.endorse_for(&mut call, request.into_inner()).instrument(span).await;
        call.end(result).await
    }

    async fn sign(
        &self,
        request: Request<v1::SignRequest>,
    ) -> Result<Response<v1::SignResponse>, Status> {
        let mut call = Call::begin(&self.shared, "Sign", &request)?;
        let span = call.span.clone();
        let result = self.sign_for(&mut call, request.into_inner()).instrument(span).await;
        call.end(result).await
    }

    async fn sign_batch(
        &self,
        request: Request<v1::SignBatchRequest>,
    ) -> Result<Response<v1::SignBatchResponse>, Status> {
        let mut call = Call::begin(&self.shared, "SignBatch", &request)?;
        let span = call.span.clone();
        let result = self.sign_batch_for(&mut call, request.into_inner()).instrument(span).await;
        call.end(result).await
    }
}

impl SignerService {
    async fn endorse_for(
        &self,
        call: &mut Call<'_>,
        request: v1::EndorseRequest,
    ) -> Result<Response<v1::EndorseResponse>, Status> {
        call.known()?;
        call.for_purpose(&request.purpose);
        let ttl = convert::ttl(&request)?;
        let public_key = convert::public_key(&request.public_key)?;
        self.check_serving()?;
        let policy = self.shared.policy.load();
        let permit = call.judged(policy.endorse(&call.peer, call.now, &request.purpose, ttl))?;
        let expiration = call
            .now
            .checked_add(ttl)
            .ok_or_else(|| invalid("MALFORMED_TTL", "ttl ends after the year 9999"))?;
        let payload = EndorsementPayload::new(request.purpose, public_key, expiration)
            .map_err(|error| invalid("MALFORMED_PURPOSE", error.to_string()))?;
        let signed = self
            .shared
            .signer
            .sign(&permit, Document::Endorsement(payload), call.deadline)
            .await
            .map_err(|error| self.refusal(&error))?;
        call.signed_by(signed.generation.id());
        let leaves_as = LeavesAs(signed.generation.sequence_number());
        let response = v1::EndorseResponse {
            endorsement: Some(convert::signed_body(signed)),
            expiration: expiration.to_string(),
        };
        Ok(leaves_as.tag(response))
    }

    async fn sign_for(
        &self,
        call: &mut Call<'_>,
        request: v1::SignRequest,
    ) -> Result<Response<v1::SignResponse>, Status> {
        call.known()?;
        let (payload, purpose) = convert::document(request.payload)?;
        call.for_purpose(&purpose);
        self.check_serving()?;
        let policy = self.shared.policy.load();
        let judgement = policy.sign(&call.peer, call.now, [purpose.as_str()]);
        let permit = call.judged(judgement.map_err(|(_, denied)| denied))?;
        let signed = self
            .shared
            .signer
            .sign(&permit, Document::Payload(payload), call.deadline)
            .await
            .map_err(|error| self.refusal(&error))?;
        let leaves_as = LeavesAs(signed.generation.sequence_number());
        Ok(leaves_as.tag(v1::SignResponse { signed: Some(convert::signed_body(signed)) }))
    }

    async fn sign_batch_for(
        &self,
        call: &mut Call<'_>,
        request: v1::SignBatchRequest,
    ) -> Result<Response<v1::SignBatchResponse>, Status> {
        call.known()?;
        let payloads = request.payloads;
        if payloads.is_empty() {
            return Err(invalid("MALFORMED_PAYLOAD", "the batch is empty"));
        }
        if payloads.len() > MAX_BATCH {
            let message =
                format!("the batch has {} documents, {MAX_BATCH} are allowed", payloads.len());
            return Err(status(
                tonic::Code::ResourceExhausted,
                "BATCH_TOO_LARGE",
                message,
                Default::default(),
            ));
        }
        let mut documents = Vec::with_capacity(payloads.len());
        let mut purposes = Vec::with_capacity(payloads.len());
        for (position, bytes) in payloads.into_iter().enumerate() {
            let (payload, purpose) =
                convert::document(bytes).map_err(|status| at(position, status))?;
            documents.push(Document::Payload(payload));
            purposes.push(purpose);
        }
        call.for_purpose(&purposes[0]);
        self.check_serving()?;
        let policy = self.shared.policy.load();
        let purposes = purposes.iter().map(String::as_str);
        let permit = policy
            .sign(&call.peer, call.now, purposes)
            .map_err(|(position, error)| at(position, denied(error)))?;
        let signed = self
            .shared
            .signer
            .sign_batch(&permit, documents, call.deadline)
            .await
            .map_err(|error| self.refusal(&error))?;
        let oldest = signed.iter().map(|s| s.generation.sequence_number()).min();
        let leaves_as = LeavesAs(oldest.unwrap_or(u32::MAX));
        let signed = signed.into_iter().map(convert::signed_body).collect();
        Ok(leaves_as.tag(v1::SignBatchResponse { signed }))
    }

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

/// The status of one item, for the batch.
fn at(position: usize, status: Status) -> Status {
    let message = format!("item {position}: {}", status.message());
    let details = tonic::codegen::Bytes::copy_from_slice(status.details());
    Status::with_details(status.code(), message, details)
}
