//! What an application checks before it serves a request, in the order of the protocol's table.

use std::time::Duration;

use hsmd_chain::{cesr::Nonce, time::Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    Error, WireTime,
    error::Malformed,
    message::{SignedText, request_payload},
    store::{AccessStore, ServerKeys},
    token::{AccessToken, ReceivedToken},
};

/// The `access` member of a request to an application, in the order of the wire form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessMembers {
    /// Chosen by the device, used once; the reply repeats it.
    pub nonce: Nonce,
    /// When the device made the request.
    pub timestamp: WireTime,
    /// The access token.
    pub token: String,
}

/// Which timestamps a request may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessWindow {
    /// How old a request may be, by default 30 s.
    pub age: Duration,
    /// How far in the future requests and tokens may lie, by default 5 s.
    pub clock_skew: Duration,
}

impl Default for AccessWindow {
    fn default() -> Self {
        Self { age: Duration::from_secs(30), clock_skew: Duration::from_secs(5) }
    }
}

/// A role and what it must be permitted to do.
#[derive(Clone, Copy, Debug)]
pub struct Required<'a> {
    /// The role, for example `user`.
    pub role: &'a str,
    /// The permission, for example `read`.
    pub permission: &'a str,
}

/// The proof that a request passed every check: only [`verify`] makes one.
#[derive(Clone, Debug)]
pub struct VerifiedAccess<'a> {
    nonce: Nonce,
    token: AccessToken,
    request: &'a str,
}

impl<'a> VerifiedAccess<'a> {
    /// The request's nonce, for the reply.
    #[must_use]
    pub fn nonce(&self) -> Nonce {
        self.nonce
    }

    /// The verified token: who asks, and what they may do.
    #[must_use]
    pub fn token(&self) -> &AccessToken {
        &self.token
    }

    /// The exact text of the `request` member, which the signature covers.
    #[must_use]
    pub fn request(&self) -> &'a str {
        self.request
    }

    /// Parses the `request` member.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not of this type.
    pub fn parse_request<T: Deserialize<'a>>(&self) -> Result<T, Error> {
        Ok(serde_json::from_str(self.request).map_err(Malformed::Json)?)
    }
}

/// Checks a request to an application. A refused request uses its nonce up only if it came as far as
/// that check.
///
/// # Errors
/// In this order: malformed message or token; a server key that is not endorsed; the token's
/// signature; a token from the future; an expired token; the request's signature; a request that is
/// stale or from the future; a used nonce ([`Error::StaleRequest`]); a revoked device; a token that
/// does not give what is required.
pub async fn verify<'a>(
    message: &'a [u8],
    servers: &impl ServerKeys,
    store: &impl AccessStore,
    required: Required<'_>,
    window: AccessWindow,
    now: Timestamp,
) -> Result<VerifiedAccess<'a>, Error> {
    let signed = SignedText::open(message)?;
    let (access, request): (AccessMembers, &RawValue) = request_payload(signed.text)?;
    let token = ReceivedToken::decode(&access.token)?;
    if !servers.is_endorsed(token.server_identity(), now).await? {
        return Err(Error::ServerKey);
    }
    let token = token.verify()?;
    let future = now.saturating_add(window.clock_skew);
    if token.issued_at > future {
        return Err(Error::TokenFromFuture);
    }
    if now > token.expiry {
        return Err(Error::TokenExpired);
    }
    signed.verify(&token.public_key)?;
    let timestamp = access.timestamp.at();
    if now > timestamp.saturating_add(window.age) {
        return Err(Error::StaleRequest);
    }
    if timestamp > future {
        return Err(Error::FutureRequest);
    }
    if !store.use_nonce(&access.nonce, timestamp, window).await? {
        return Err(Error::StaleRequest);
    }
    if store.is_revoked(&token.device).await? {
        return Err(Error::DeviceRevoked);
    }
    if !token.attributes.permit(required.role, required.permission) {
        return Err(Error::Unauthorized);
    }
    Ok(VerifiedAccess { nonce: access.nonce, token, request: request.get() })
}

/// The body of an application's error reply. Two of them are older than the protocol's error form and
/// kept for existing clients: a revoked device and a missing permission.
#[must_use]
pub fn refusal(error: &Error) -> String {
    match error {
        Error::DeviceRevoked => r#"{"error":"device revoked"}"#.to_owned(),
        Error::Unauthorized => r#"{"error":"unauthorized"}"#.to_owned(),
        other => other.to_json(),
    }
}
