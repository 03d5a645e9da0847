//! Sessions: challenge, token, and the next token.

use std::time::Duration;

use hsmd_chain::{
    cesr::{Digest, Nonce},
    time::Timestamp,
};

use super::device::locked_account;
use crate::{
    Error, PrivateKey, Received, key_hash,
    operation::{CreateSession, RefreshSession, RequestSession},
    store::{ServerKeys, Sessions},
    token::{AccessToken, Attributes, ReceivedToken},
};

/// How long things are good for.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// An access token, by default 15 minutes.
    pub access: Duration,
    /// A session from its creation, however often it is refreshed, by default 12 hours.
    pub refresh: Duration,
    /// A challenge, by default a minute.
    pub challenge: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            access: Duration::from_secs(15 * 60),
            refresh: Duration::from_secs(12 * 60 * 60),
            challenge: Duration::from_secs(60),
        }
    }
}

/// What it takes to issue tokens.
#[derive(Clone, Copy, Debug)]
pub struct Issuer<'a> {
    /// The server's access key, which is endorsed.
    pub key: &'a PrivateKey,
    /// How long what it issues is good for.
    pub lifetimes: Lifetimes,
}

/// Stores a challenge for an account. The caller answers with the nonce whatever the account is: for
/// an unknown or deleted one nothing is stored, and the caller can't tell.
///
/// # Errors
/// Only [`Error::Unavailable`].
pub async fn request_session(
    store: &mut impl Sessions,
    request: &Received<'_, RequestSession>,
    challenge: &Nonce,
    now: Timestamp,
) -> Result<(), Error> {
    let identity = &request.request.authentication.identity;
    Ok(store.insert_challenge(challenge, identity, now).await?)
}

/// Answers a challenge with a token.
///
/// The caller commits even when this returns an error: the challenge is used up whatever comes after
/// it, and nothing else has been written.
///
/// # Errors
/// In this order: [`Error::Challenge`] if it was never given, is used or older than its lifetime;
/// [`Error::IdentityUnknown`] also for a deleted account; [`Error::DeviceUnknown`],
/// [`Error::DeviceRevoked`]; [`Error::Signature`] by the device's current key.
pub async fn create_session(
    store: &mut impl Sessions,
    request: &Received<'_, CreateSession>,
    issuer: Issuer<'_>,
    now: Timestamp,
) -> Result<String, Error> {
    let CreateSession { access, authentication: asking } = &request.request;
    let challenge = store.use_challenge(&asking.nonce, now).await?.ok_or(Error::Challenge)?;
    if now > challenge.given_at.saturating_add(issuer.lifetimes.challenge) {
        return Err(Error::Challenge);
    }
    locked_account(store, &challenge.identity).await?;
    let device = store.device(&challenge.identity, &asking.device).await?;
    let device = device.ok_or(Error::DeviceUnknown)?;
    if device.revoked {
        return Err(Error::DeviceRevoked);
    }
    request.verify(&device.public_key)?;
    AccessToken {
        server_identity: *issuer.key.public_key(),
        device: asking.device,
        identity: challenge.identity,
        public_key: access.public_key,
        rotation_hash: access.rotation_hash,
        issued_at: now,
        expiry: now.saturating_add(issuer.lifetimes.access),
        refresh_expiry: now.saturating_add(issuer.lifetimes.refresh),
        attributes: Attributes::user(),
    }
    .encode(issuer.key)
}

/// The outcome of a refresh.
#[derive(Clone, Debug)]
pub struct Refreshed {
    /// The next token.
    pub token: String,
    /// The hash of the access key that was used, to be copied to where else it is looked for.
    pub used_hash: Digest,
    /// Until when it matters.
    pub used_until: Timestamp,
}

/// Continues a session with the access key that its token committed to.
///
/// # Errors
/// In this order: [`Error::Signature`] by the revealed key; [`Error::Malformed`] for the token;
/// [`Error::ServerKey`] if it is not endorsed; [`Error::Signature`] of the token; [`Error::Hash`] for a
/// revealed key that was not committed to; [`Error::IdentityUnknown`] also for a deleted account;
/// [`Error::DeviceUnknown`], [`Error::DeviceRevoked`]; [`Error::TokenExpired`] at the refresh expiry;
/// [`Error::RefreshUsed`].
pub async fn refresh_session(
    store: &mut impl Sessions,
    servers: &impl ServerKeys,
    request: &Received<'_, RefreshSession>,
    issuer: Issuer<'_>,
    now: Timestamp,
) -> Result<Refreshed, Error> {
    let access = &request.request.access;
    request.verify(&access.public_key)?;
    let token = ReceivedToken::decode(&access.token)?;
    if !servers.is_endorsed(token.server_identity(), now).await? {
        return Err(Error::ServerKey);
    }
    let token = token.verify()?;
    if key_hash(&access.public_key) != token.rotation_hash {
        return Err(Error::Hash);
    }
    locked_account(store, &token.identity).await?;
    let device = store.device(&token.identity, &token.device).await?;
    if device.ok_or(Error::DeviceUnknown)?.revoked {
        return Err(Error::DeviceRevoked);
    }
    if now > token.refresh_expiry {
        return Err(Error::TokenExpired);
    }
    let (used_hash, used_until) = (token.rotation_hash, token.refresh_expiry);
    if !store.reserve_refresh(&used_hash, &token.device, used_until).await? {
        return Err(Error::RefreshUsed);
    }
    let token = AccessToken {
        server_identity: *issuer.key.public_key(),
        public_key: access.public_key,
        rotation_hash: access.rotation_hash,
        issued_at: now,
        expiry: now.saturating_add(issuer.lifetimes.access),
        ..token
    };
    Ok(Refreshed { token: token.encode(issuer.key)?, used_hash, used_until })
}
