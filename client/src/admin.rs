//! The admin listener's calls: status, rotate, taint, and the record of them.

use hsmd_chain::{Digest, SignedEvent};
use hsmd_proto::v1;
use hsmd_proto::v1::admin_client::AdminClient as Generated;

use crate::call::{Caller, Repeat};
use crate::client::signed_event;
use crate::{CallError, ConnectError, ConnectOptions};

/// A client of a daemon's admin listener; clones share one connection.
///
/// Rotate and taint are never repeated by themselves. After a lost answer the same call with the
/// same expected generation is safe: it tells whether the first one did it.
#[derive(Clone, Debug)]
pub struct AdminClient {
    caller: Caller,
}

/// What became of a rotate or taint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The event that replaced the expected generation, as the daemon says: unverified.
    pub event: SignedEvent,
    /// False when an earlier call had done it.
    pub performed: bool,
    /// Of a taint: whether the tainted generation's private key is gone from the token. When it is not,
    /// the daemon refuses to sign with it and goes on trying; destroy it with the vendor's tool.
    pub key_destroyed: Option<bool>,
    /// Of a taint: whether the event is not in the daemon's database yet. Its row follows by itself; with
    /// the host lost as well, `hsmd import` takes the event.
    pub pending: Option<bool>,
}

impl AdminClient {
    /// Makes a client. The first call connects, and each later one connects again if need be.
    /// Must be called within a tokio runtime.
    pub fn connect(options: &ConnectOptions) -> Result<Self, ConnectError> {
        Caller::new(options).map(|caller| Self { caller })
    }

    /// What the daemon is, does and lacks.
    pub async fn status(&self) -> Result<v1::StatusResponse, CallError> {
        let message = v1::StatusRequest {};
        let call = async |channel, request| Generated::new(channel).status(request).await;
        self.caller.unary("Status", Repeat::Safe, message, call).await
    }

    /// The record of admin actions: up to `count` of them from a number on, or the newest with 0.
    pub async fn actions(
        &self,
        from_number: u64,
        count: u32,
    ) -> Result<Vec<v1::AdminRecord>, CallError> {
        let message = v1::ListActionsRequest { from_number, page_size: count };
        let call = async |channel, request| Generated::new(channel).list_actions(request).await;
        let answer: v1::ListActionsResponse =
            self.caller.unary("ListActions", Repeat::Safe, message, call).await?;
        Ok(answer.records)
    }

    /// Makes the committed next key the active one.
    pub async fn rotate(&self, expected: &Digest, reason: &str) -> Result<Rotated, CallError> {
        const METHOD: &str = "Rotate";
        let message = v1::RotateRequest {
            expected_generation_id: expected.as_str().to_owned(),
            reason: reason.to_owned(),
        };
        let call = async |channel, request| Generated::new(channel).rotate(request).await;
        let answer = self.caller.unary(METHOD, Repeat::Never, message, call).await?;
        let event = signed_event(METHOD, answer.event)?;
        Ok(Rotated { event, performed: answer.performed, key_destroyed: None, pending: None })
    }

    /// Rotates and declares the replaced key compromised: once this has answered, nothing that the
    /// tainted generation signs is made or sent.
    pub async fn taint(&self, expected: &Digest, reason: &str) -> Result<Rotated, CallError> {
        const METHOD: &str = "Taint";
        let message = v1::TaintRequest {
            expected_generation_id: expected.as_str().to_owned(),
            reason: reason.to_owned(),
        };
        let call = async |channel, request| Generated::new(channel).taint(request).await;
        let answer = self.caller.unary(METHOD, Repeat::Never, message, call).await?;
        let event = signed_event(METHOD, answer.event)?;
        let (key_destroyed, pending) = (Some(answer.key_destroyed), Some(answer.pending));
        Ok(Rotated { event, performed: answer.performed, key_destroyed, pending })
    }
}
