//! `hsmd.v1.Signer`: endorse and sign.

use std::sync::Arc;

use hsmd_chain::EndorsementPayload;
use hsmd_proto::v1;
use hsmd_proto::v1::signer_server::Signer;
use tonic::{Request, Response, Status};

use super::MAX_BATCH;
use super::convert;
use super::gate_layer::LeavesAs;
use super::status::{denied, invalid, not_serving, not_signed, status};
use crate::authz::{Denied, SignPermit};
use crate::signer::{Document, SignError};
use crate::state::{Phase, Shared};

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
        let (peer, deadline) = (convert::peer(&request)?, convert::deadline(&request));
        self.shared.policy.known(&peer).map_err(denied)?;
        let request = request.into_inner();
        let ttl = convert::ttl(&request)?;
        let permit = self.shared.policy.endorse(&peer, &request.purpose, ttl).map_err(denied)?;
        let public_key = convert::public_key(&request.public_key)?;
        self.check_serving()?;

        let now = self.shared.clock.now().map_err(|e| Status::internal(e.to_string()))?;
        let expiration = now
            .checked_add(ttl)
            .ok_or_else(|| invalid("MALFORMED_TTL", "ttl ends after the year 9999"))?;
        let payload = EndorsementPayload::new(request.purpose, public_key, expiration)
            .map_err(|error| invalid("MALFORMED_PURPOSE", error.to_string()))?;
        let signed = self
            .shared
            .signer
            .sign(&permit, Document::Endorsement(payload), deadline)
            .await
            .map_err(|error| self.refusal(&error))?;
        let leaves_as = LeavesAs(signed.generation.sequence_number());
        let response = v1::EndorseResponse {
            endorsement: Some(convert::signed_body(signed)),
            expiration: expiration.to_string(),
        };
        Ok(leaves_as.tag(response))
    }

    async fn sign(
        &self,
        request: Request<v1::SignRequest>,
    ) -> Result<Response<v1::SignResponse>, Status> {
        let (peer, deadline) = (convert::peer(&request)?, convert::deadline(&request));
        self.shared.policy.known(&peer).map_err(denied)?;
        let (payload, purpose) = convert::document(&request.get_ref().payload)?;
        let permit = self.shared.policy.sign(&peer, &purpose).map_err(denied)?;
        self.check_serving()?;
        let signed = self
            .shared
            .signer
            .sign(&permit, Document::Payload(payload), deadline)
            .await
            .map_err(|error| self.refusal(&error))?;
        let leaves_as = LeavesAs(signed.generation.sequence_number());
        Ok(leaves_as.tag(v1::SignResponse { signed: Some(convert::signed_body(signed)) }))
    }

    async fn sign_batch(
        &self,
        request: Request<v1::SignBatchRequest>,
    ) -> Result<Response<v1::SignBatchResponse>, Status> {
        let (peer, deadline) = (convert::peer(&request)?, convert::deadline(&request));
        self.shared.policy.known(&peer).map_err(denied)?;
        let payloads = request.into_inner().payloads;
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
        let mut permit: Option<SignPermit> = None;
        for (position, bytes) in payloads.iter().enumerate() {
            let (payload, purpose) =
                convert::document(bytes).map_err(|status| at(position, status))?;
            let given = self.shared.policy.sign(&peer, &purpose);
            permit = Some(given.map_err(|error: Denied| at(position, denied(error)))?);
            documents.push(Document::Payload(payload));
        }
        let Some(permit) = permit else { return Err(Status::internal("a batch without items")) };
        self.check_serving()?;
        let signed = self
            .shared
            .signer
            .sign_batch(&permit, documents, deadline)
            .await
            .map_err(|error| self.refusal(&error))?;
        let oldest = signed.iter().map(|s| s.generation.sequence_number()).min();
        let leaves_as = LeavesAs(oldest.unwrap_or(u32::MAX));
        let signed = signed.into_iter().map(convert::signed_body).collect();
        Ok(leaves_as.tag(v1::SignBatchResponse { signed }))
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

/// The status of one item, for the batch.
fn at(position: usize, status: Status) -> Status {
    let message = format!("item {position}: {}", status.message());
    let details = tonic::codegen::Bytes::copy_from_slice(status.details());
    Status::with_details(status.code(), message, details)
}
