//! Calls over a daemon's sockets, with raw tonic clients, nothing believed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hsmd_chain::{KeyLog, SignedBody, SignedEvent};
use hsmd_proto::v1;
use hsmd_proto::v1::admin_client::AdminClient;
use hsmd_proto::v1::key_log_client::KeyLogClient;
use hsmd_proto::v1::signer_client::SignerClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use crate::{Observer, now, until};

/// Clients of one daemon. Each call may be made before the daemon listens: it is refused then.
#[derive(Clone, Debug)]
pub struct Rpc {
    /// Signer.
    pub signer: SignerClient<Channel>,
    /// KeyLog.
    pub key_log: KeyLogClient<Channel>,
    /// Admin.
    pub admin: AdminClient<Channel>,
    health: HealthClient<Channel>,
    observer: Arc<Observer>,
}

/// A call that was refused: the documented part of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The gRPC code.
    pub code: Code,
    /// The reason in `google.rpc.ErrorInfo` of domain "hsmd"; empty without one.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Of the ErrorInfo.
    pub metadata: std::collections::HashMap<String, String>,
}

impl Rpc {
    pub(crate) fn new(service: &Path, admin: &Path, observer: Arc<Observer>) -> Self {
        Self::over(channel(service), channel(admin), observer)
    }

    /// Clients over channels of the test's own making.
    pub fn over(service: Channel, admin: Channel, observer: Arc<Observer>) -> Self {
        Self {
            // A test may send more than the daemon takes.
            signer: SignerClient::new(service.clone()).max_decoding_message_size(64 << 20),
            key_log: KeyLogClient::new(service.clone()).max_decoding_message_size(64 << 20),
            admin: AdminClient::new(admin),
            health: HealthClient::new(service),
            observer,
        }
    }

    /// Has a key endorsed.
    ///
    /// # Errors
    /// The daemon's refusal.
    pub async fn endorse(
        &self,
        purpose: &str,
        public_key: &str,
        ttl: Duration,
    ) -> Result<SignedBody, Refusal> {
        let ttl = prost_types::Duration::try_from(ttl).expect("a ttl");
        let request = v1::EndorseRequest {
            purpose: purpose.into(),
            public_key: public_key.into(),
            ttl: Some(ttl),
            ..Default::default()
        };
        let response = self.signer.clone().endorse(request).await?.into_inner();
        Ok(signed(response.endorsement.expect("an endorsement")))
    }

    /// Has a JSON document signed.
    ///
    /// # Errors
    /// The daemon's refusal.
    pub async fn sign(&self, payload: &str) -> Result<SignedBody, Refusal> {
        let request = v1::SignRequest {
            payload: payload.to_owned().into_bytes().into(),
            ..Default::default()
        };
        let response = self.signer.clone().sign(request).await?.into_inner();
        Ok(signed(response.signed.expect("a signed document")))
    }

    /// Has several signed.
    ///
    /// # Errors
    /// The daemon's refusal.
    pub async fn sign_batch(&self, payloads: &[String]) -> Result<Vec<SignedBody>, Refusal> {
        let payloads = payloads.iter().map(|payload| payload.clone().into_bytes().into());
        let request = v1::SignBatchRequest { payloads: payloads.collect(), ..Default::default() };
        let response = self.signer.clone().sign_batch(request).await?.into_inner();
        Ok(response.signed.into_iter().map(signed).collect())
    }

    /// Rotates the key.
    ///
    /// # Errors
    /// The daemon's refusal.
    pub async fn rotate(&self, expected: &str) -> Result<(SignedEvent, bool), Refusal> {
        let request = v1::RotateRequest {
            expected_generation_id: expected.into(),
            reason: "a test rotates".into(),
        };
        let response = self.admin.clone().rotate(request).await?.into_inner();
        Ok((self.seen("Rotate", response.event), response.performed))
    }

    /// Taints the key.
    ///
    /// # Errors
    /// The daemon's refusal.
    pub async fn taint(&self, expected: &str) -> Result<(SignedEvent, bool), Refusal> {
        let request = v1::TaintRequest {
            expected_generation_id: expected.into(),
            reason: "a test taints".into(),
        };
        let response = self.admin.clone().taint(request).await?.into_inner();
        Ok((self.seen("Taint", response.event), response.performed))
    }

    /// Rotates whatever is the head, which must succeed.
    pub async fn rotate_head(&self) -> SignedEvent {
        let head = self.head().await.event().id();
        let (event, performed) = self.rotate(head.as_str()).await.expect("a rotation");
        assert!(performed, "somebody else rotates");
        event
    }

    /// Taints whatever is the head, which must succeed.
    pub async fn taint_head(&self) -> SignedEvent {
        let head = self.head().await.event().id();
        let (event, performed) = self.taint(head.as_str()).await.expect("a taint");
        assert!(performed, "somebody else rotates");
        event
    }

    /// The daemon's own account of itself.
    ///
    /// # Errors
    /// The daemon's refusal.
    pub async fn status(&self) -> Result<v1::StatusResponse, Refusal> {
        Ok(self.admin.clone().status(v1::StatusRequest {}).await?.into_inner())
    }

    /// Waits until the daemon's account of its problems contains a text, and returns it.
    pub async fn problem(&self, with: &str) -> v1::StatusResponse {
        until(with, async || {
            let status = self.status().await.ok()?;
            status.problems.iter().any(|problem| problem.contains(with)).then_some(status)
        })
        .await
    }

    /// The newest event.
    pub async fn head(&self) -> SignedEvent {
        let response = self.key_log.clone().get_head(v1::GetHeadRequest {}).await;
        self.seen("GetHead", response.expect("the head").into_inner().head)
    }

    /// The newest event; `None` while the log is not shown.
    pub async fn shown_head(&self) -> Option<SignedEvent> {
        let response = self.key_log.clone().get_head(v1::GetHeadRequest {}).await.ok()?;
        Some(self.seen("GetHead", response.into_inner().head))
    }

    /// All events, page by page.
    pub async fn list(&self) -> Vec<SignedEvent> {
        let mut events = Vec::new();
        loop {
            let from_sequence = u32::try_from(events.len()).expect("a short log");
            let request = v1::ListEventsRequest { from_sequence, page_size: 7 };
            let page = self.key_log.clone().list_events(request).await.expect("a page");
            let page = page.into_inner().events;
            if page.is_empty() {
                return events;
            }
            events.extend(page.into_iter().map(|event| self.seen("ListEvents", Some(event))));
        }
    }

    /// The daemon's log, verified.
    pub async fn log(&self) -> KeyLog {
        let events = self.list().await;
        let anchor = hsmd_chain::Anchor::new(events[0].event().prefix());
        KeyLog::verify(events, &anchor, now(), Duration::from_secs(5)).expect("a log that verifies")
    }

    /// Whether the standard health service says SERVING of a service ("" is the whole).
    pub async fn is_serving(&self, service: &str) -> bool {
        let request = HealthCheckRequest { service: service.into() };
        let response = self.health.clone().check(request).await;
        response.is_ok_and(|response| response.into_inner().status() == ServingStatus::Serving)
    }

    /// Waits until it says SERVING of all.
    pub async fn ready(&self) {
        until("the daemon is ready", async || self.is_serving("").await.then_some(())).await;
    }

    /// Follows the log for the observer until dropped, through every end of the stream.
    pub(crate) async fn follow(self) {
        loop {
            let request = v1::WatchEventsRequest { from_sequence: 0 };
            if let Ok(response) = self.key_log.clone().watch_events(request).await {
                let mut stream = response.into_inner();
                while let Ok(Some(message)) = stream.message().await {
                    if let Some(v1::watch_events_response::Message::Event(event)) = message.message
                    {
                        self.seen("WatchEvents", Some(event));
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn seen(&self, source: &'static str, event: Option<v1::Event>) -> SignedEvent {
        let v1::Event { text, signature } = event.expect("an event in the answer");
        self.observer.note_text(source, &text, &signature)
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let info = status.get_details_error_info().filter(|info| info.domain == "hsmd");
        let (reason, metadata) = info.map(|info| (info.reason, info.metadata)).unwrap_or_default();
        Self { code: status.code(), reason, message: status.message().into(), metadata }
    }
}

/// The body with its signature, well-formed but not verified; what the daemon says about it beside it
/// must be what it says itself.
pub(crate) fn signed(signed: v1::SignedBody) -> SignedBody {
    let body = String::from_utf8(signed.body.to_vec()).expect("a body of UTF-8");
    let parsed = SignedBody::from_parts(body, &signed.signature).expect("a well-formed body");
    assert_eq!(parsed.identity().to_string(), signed.identity);
    assert_eq!(parsed.generation_id().to_string(), signed.generation_id);
    parsed
}

fn channel(socket: &Path) -> Channel {
    Endpoint::from_shared(format!("unix://{}", socket.display()))
        .expect("the URI of a socket")
        .connect_lazy()
}
