//! The service listener's calls: endorse, sign, read the key log.

use std::time::Duration;

use bytes::Bytes;
use hsmd_chain::{Anchor, HeadStatement, PublicKey, SignedBody, SignedEvent};
use hsmd_proto::v1;
use hsmd_proto::v1::key_log_client::KeyLogClient;
use hsmd_proto::v1::signer_client::SignerClient;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::call::{Caller, Repeat};
use crate::connect::MAX_MESSAGE;
use crate::signed::Reply;
use crate::{CallError, ConnectError, ConnectOptions, Signed};

/// A client of a daemon's service listener; clones share one connection.
///
/// It passes on what the daemon says: nothing in an answer is verified. To rely on the key log or on
/// an endorsement use [`VerifiedLog`](crate::VerifiedLog) and [`Endorser`](crate::Endorser).
#[derive(Clone, Debug)]
pub struct Client {
    caller: Caller,
    accept_batch: bool,
}

impl Client {
    /// Makes a client. The first call connects, and each later one connects again if need be.
    /// Must be called within a tokio runtime.
    pub fn connect(options: &ConnectOptions) -> Result<Self, ConnectError> {
        Caller::new(options).map(|caller| Self { caller, accept_batch: false })
    }

    /// A client of the same connection that tries once, within `deadline`.
    pub(crate) fn once_within(&self, deadline: Duration) -> Self {
        Self { caller: self.caller.once_within(deadline), ..*self }
    }

    /// Sets whether the daemon may answer with leaves of a batch, which is faster when many ask at
    /// once. Default false: the readers of what is published must know batched signatures.
    #[must_use]
    pub fn accept_batch(mut self, accept: bool) -> Self {
        self.accept_batch = accept;
        self
    }

    /// Asks for an endorsement of a key. Repeated when that may help: each answer is a new, equally
    /// good endorsement.
    pub async fn endorse(
        &self,
        purpose: &str,
        public_key: &PublicKey,
        ttl: Duration,
    ) -> Result<Signed, CallError> {
        const METHOD: &str = "Endorse";
        let ttl = prost_types::Duration {
            seconds: i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(ttl.subsec_nanos()).unwrap_or(0),
        };
        let message = v1::EndorseRequest {
            purpose: purpose.to_owned(),
            public_key: public_key.as_str().to_owned(),
            ttl: Some(ttl),
            accept_batch: self.accept_batch,
        };
        let call = async |channel, request| signer(channel).endorse(request).await;
        let answer = self.caller.unary(METHOD, Repeat::Safe, message, call).await?;
        let v1::EndorseResponse { endorsement, leaf, batch, .. } = answer;
        Reply::new(METHOD, self.accept_batch).one(endorsement, leaf, batch)
    }

    /// Has one JSON document signed, byte for byte. Repeated when that may help.
    pub async fn sign(&self, payload: impl Into<Bytes>) -> Result<Signed, CallError> {
        const METHOD: &str = "Sign";
        let (payload, accept_batch) = (payload.into(), self.accept_batch);
        let message = v1::SignRequest { payload, accept_batch };
        let call = async |channel, request| signer(channel).sign(request).await;
        let answer = self.caller.unary(METHOD, Repeat::Safe, message, call).await?;
        let v1::SignResponse { signed, leaf, batch } = answer;
        Reply::new(METHOD, accept_batch).one(signed, leaf, batch)
    }

    /// Has up to 256 JSON documents signed; the answers are in the same order. Repeated when that
    /// may help.
    pub async fn sign_batch(&self, payloads: Vec<Bytes>) -> Result<Vec<Signed>, CallError> {
        const METHOD: &str = "SignBatch";
        let count = payloads.len();
        let accept_batch = self.accept_batch;
        let message = v1::SignBatchRequest { payloads, accept_batch };
        let call = async |channel, request| signer(channel).sign_batch(request).await;
        let answer = self.caller.unary(METHOD, Repeat::Safe, message, call).await?;
        Reply::new(METHOD, accept_batch).all(answer, count)
    }

    /// The newest event, as the daemon says.
    pub async fn head(&self) -> Result<SignedEvent, CallError> {
        const METHOD: &str = "GetHead";
        signed_event(METHOD, self.get_head(METHOD).await?.head)
    }

    /// The newest statement about the head, as the daemon says: not verified. `None`
    /// while it makes none, for instance while its clock is suspect or it is not serving.
    pub async fn head_statement(&self) -> Result<Option<HeadStatement>, CallError> {
        const METHOD: &str = "GetHead";
        let statement = self.get_head(METHOD).await?.statement;
        statement.map(|statement| head_statement(METHOD, statement)).transpose()
    }

    async fn get_head(&self, method: &'static str) -> Result<v1::GetHeadResponse, CallError> {
        let message = v1::GetHeadRequest {};
        let call = async |channel, request| key_log(channel).get_head(request).await;
        self.caller.unary(method, Repeat::Safe, message, call).await
    }

    /// All events from `from_sequence` to the head, as the daemon says, in its order.
    pub async fn events(&self, from_sequence: u32) -> Result<Vec<SignedEvent>, CallError> {
        const METHOD: &str = "ListEvents";
        let mut events = Vec::new();
        let mut from_sequence = from_sequence;
        loop {
            let message = v1::ListEventsRequest { from_sequence, page_size: 0 };
            let call = async |channel, request| key_log(channel).list_events(request).await;
            let page = self.caller.unary(METHOD, Repeat::Safe, message, call).await?;
            for event in page.events {
                events.push(signed_event(METHOD, Some(event))?);
            }
            if page.next_sequence > page.head_sequence_number {
                return Ok(events);
            }
            if page.next_sequence <= from_sequence {
                return Err(CallError::Malformed { method: METHOD, field: "next_sequence" });
            }
            from_sequence = page.next_sequence;
        }
    }

    /// The identity that the daemon claims to have: the prefix of its event 0. A first contact that
    /// has no [`Anchor`] may show it to a person; nothing should trust it.
    pub async fn claimed_identity(&self) -> Result<Anchor, CallError> {
        const METHOD: &str = "ListEvents";
        let message = v1::ListEventsRequest { from_sequence: 0, page_size: 1 };
        let call = async |channel, request| key_log(channel).list_events(request).await;
        let page = self.caller.unary(METHOD, Repeat::Safe, message, call).await?;
        let event = signed_event(METHOD, page.events.into_iter().next())?;
        Ok(Anchor::new(event.event().prefix()))
    }

    /// The stream of events from `from_sequence` on. It has no deadline.
    pub(crate) async fn watch(
        &self,
        from_sequence: u32,
    ) -> Result<Streaming<v1::WatchEventsResponse>, CallError> {
        let message = v1::WatchEventsRequest { from_sequence };
        match key_log(self.caller.connection.channel()).watch_events(message).await {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(self.watch_error(status)),
        }
    }

    pub(crate) fn watch_error(&self, status: tonic::Status) -> CallError {
        self.caller.error("WatchEvents", status)
    }
}

/// Parses an event of an answer; it is not verified.
pub(crate) fn signed_event(
    method: &'static str,
    event: Option<v1::Event>,
) -> Result<SignedEvent, CallError> {
    event
        .and_then(|event| SignedEvent::parse(&event.text, &event.signature).ok())
        .ok_or(CallError::Malformed { method, field: "event" })
}

fn signer(channel: Channel) -> SignerClient<Channel> {
    SignerClient::new(channel).max_decoding_message_size(MAX_MESSAGE)
}

fn key_log(channel: Channel) -> KeyLogClient<Channel> {
    KeyLogClient::new(channel).max_decoding_message_size(MAX_MESSAGE)
}

/// Parses the head statement of an answer; it is not verified.
pub(crate) fn head_statement(
    method: &'static str,
    statement: v1::HeadStatement,
) -> Result<HeadStatement, CallError> {
    let malformed = CallError::Malformed { method, field: "statement" };
    let Ok(body) = String::from_utf8(statement.body.into()) else { return Err(malformed) };
    SignedBody::from_parts(body, &statement.signature)
        .ok()
        .and_then(|signed| HeadStatement::new(signed).ok())
        .ok_or(malformed)
}
