//! The floor of Endorse: the same RPC that does everything but sign. It decodes the request, judges the
//! purpose, checks that the key is a point of the curve, writes the payload, and answers with a leaf of the
//! size that a batch of 256 gives. A process of its own, as the daemon is, with the daemon's allocator and
//! number of workers.
//!
//! `hsmd-bench-floor SOCKET` serves until it is killed.
#![expect(clippy::expect_used, reason = "a measuring program stops when it can't measure")]

use hsmd_chain::{EndorsementPayload, PublicKey};
use hsmd_proto::v1;
use hsmd_proto::v1::signer_server::{Signer, SignerServer};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let socket = std::env::args_os().nth(1).expect("a path for the socket");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("an async runtime");
    runtime.block_on(async {
        let listener = UnixListener::bind(socket).expect("a socket");
        tonic::transport::Server::builder()
            .add_service(SignerServer::new(Floor))
            .serve_with_incoming(UnixListenerStream::new(listener))
            .await
            .expect("a server");
    });
}

#[derive(Debug)]
struct Floor;

/// A digest's text; its value does not matter.
const DIGEST: &str = "EAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// Levels of a tree over 256 payloads.
const LEVELS: usize = 8;

#[tonic::async_trait]
impl Signer for Floor {
    async fn endorse(
        &self,
        request: Request<v1::EndorseRequest>,
    ) -> Result<Response<v1::EndorseResponse>, Status> {
        let v1::EndorseRequest { purpose, public_key, ttl, .. } = request.into_inner();
        let bad = |error: &dyn std::fmt::Display| Status::invalid_argument(error.to_string());
        if purpose != "access" {
            return Err(Status::permission_denied(purpose));
        }
        let key = public_key.parse::<PublicKey>().map_err(|error| bad(&error))?;
        let ttl = ttl.ok_or_else(|| Status::invalid_argument("no ttl"))?;
        let ttl = std::time::Duration::try_from(ttl).map_err(|error| bad(&error))?;
        let now = hsmd_tests::now();
        let expiration = now.saturating_add(ttl);
        let payload =
            EndorsementPayload::new(&purpose, key, expiration).map_err(|error| bad(&error))?;
        let leaf = v1::Leaf {
            payload: payload.text().into(),
            index: 7,
            path: vec![DIGEST.into(); LEVELS],
            batch: 0,
        };
        let body = format!(
            r#"{{"payload":{{"purpose":"batch","root":"{DIGEST}","size":256}},"hsm":{{"identity":"{DIGEST}","generationId":"{DIGEST}"}}}}"#
        );
        let batch = v1::SignedBody {
            body: body.into(),
            signature: "0".repeat(88),
            identity: DIGEST.into(),
            generation_id: DIGEST.into(),
            sequence_number: 0,
        };
        Ok(Response::new(v1::EndorseResponse {
            endorsement: None,
            expiration: expiration.to_string(),
            leaf: Some(leaf),
            batch: Some(batch),
        }))
    }

    async fn sign(
        &self,
        _: Request<v1::SignRequest>,
    ) -> Result<Response<v1::SignResponse>, Status> {
        Err(Status::unimplemented("the floor of Endorse"))
    }

    async fn sign_batch(
        &self,
        _: Request<v1::SignBatchRequest>,
    ) -> Result<Response<v1::SignBatchResponse>, Status> {
        Err(Status::unimplemented("the floor of Endorse"))
    }
}
