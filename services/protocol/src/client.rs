//! A device's side: its keys, building and signing requests, checking replies.
//!
//! Before a request that commits to a key is sent, that key has to be on disk, or a lost reply loses
//! the account. So [`KeyChain`] separates the three: prepare, (store, send,) confirm.

mod keys;

use std::marker::PhantomData;

use hsmd_chain::cesr::{Digest, Nonce};
use serde::Deserialize;
use serde_json::value::RawValue;

pub use keys::{KeyChain, Reveal};

use crate::{
    Error, PrivateKey,
    access::AccessMembers,
    device_id,
    error::Malformed,
    identity_id,
    link::LinkContainer,
    message::{self, Reply, RequestAccess},
    operation::{
        Authentication, ChallengeAnswer, CreateSession, IdentityReference, Operation,
        RecoverableAuthentication, Recovery, RefreshSession, RefreshedKeys, RequestSession,
        SessionKeys,
    },
    ordered::compact,
};

/// A request that is ready to be sent, and what its reply must answer.
#[derive(Clone, Debug)]
pub struct Outgoing<O> {
    /// The message.
    pub text: String,
    /// The nonce that the reply must repeat.
    pub nonce: Nonce,
    operation: PhantomData<O>,
}

impl<O: Operation> Outgoing<O> {
    /// Writes and signs a request. The key is the one that the operation reveals, except for
    /// [`CreateSession`] (the current authentication key), [`RefreshSession`] (the revealed access
    /// key) and [`crate::RecoverAccount`] (the recovery key).
    #[must_use]
    pub fn signed(operation: &O, nonce: Nonce, key: &PrivateKey) -> Self {
        let text = message::sign_request(&RequestAccess { nonce }, &compact(operation), key);
        Self { text, nonce, operation: PhantomData }
    }

    /// Where to post it.
    #[must_use]
    pub fn route(&self) -> &'static str {
        O::ROUTE
    }

    /// Parses a reply. It is not believed before [`Reply::verify`] was given a key whose endorsement
    /// was verified.
    ///
    /// # Errors
    /// [`Error::Malformed`] for anything but a reply to this operation.
    pub fn read_reply<'a>(&self, reply: &'a [u8]) -> Result<Reply<'a, O::Response>, Error> {
        Reply::parse(reply)
    }
}

impl Outgoing<RequestSession> {
    /// Asks for a challenge, the one request that is not signed.
    #[must_use]
    pub fn request_session(identity: Digest, nonce: Nonce) -> Self {
        let operation = RequestSession { authentication: IdentityReference { identity } };
        let payload = message::request_text(&RequestAccess { nonce }, &compact(&operation));
        Self { text: format!(r#"{{"payload":{payload}}}"#), nonce, operation: PhantomData }
    }
}

impl Outgoing<CreateSession> {
    /// Answers a challenge, signed by the device's current authentication key.
    #[must_use]
    pub fn create_session(
        device: Digest,
        challenge: Nonce,
        session: &KeyChain,
        nonce: Nonce,
        current: &PrivateKey,
    ) -> Self {
        let access = SessionKeys {
            public_key: *session.current().public_key(),
            rotation_hash: session.first_commitment(),
        };
        let authentication = ChallengeAnswer { device, nonce: challenge };
        Self::signed(&CreateSession { access, authentication }, nonce, current)
    }
}

impl Outgoing<RefreshSession> {
    /// Continues a session with the access key that its token committed to.
    #[must_use]
    pub fn refresh_session(token: String, reveal: &Reveal<'_>, nonce: Nonce) -> Self {
        let access = RefreshedKeys {
            public_key: *reveal.key.public_key(),
            rotation_hash: reveal.commitment,
            token,
        };
        Self::signed(&RefreshSession { access }, nonce, reveal.key)
    }
}

/// The first device of a new account: its members, of which device and identity are made. Sign with
/// the chain's current key.
#[must_use]
pub fn new_account(keys: &KeyChain, recovery_hash: Digest) -> RecoverableAuthentication {
    let (public_key, rotation_hash) = (*keys.current().public_key(), keys.first_commitment());
    RecoverableAuthentication {
        device: device_id(&public_key, &rotation_hash),
        identity: identity_id(&public_key, &rotation_hash, &recovery_hash),
        public_key,
        recovery_hash,
        rotation_hash,
    }
}

/// A new device for an account, vouched for by its recovery key, which signs. `recovery_hash` commits
/// to the recovery key after it.
#[must_use]
pub fn recovered_device(
    identity: Digest,
    keys: &KeyChain,
    recovery_key: &PrivateKey,
    recovery_hash: Digest,
) -> Recovery {
    let (public_key, rotation_hash) = (*keys.current().public_key(), keys.first_commitment());
    Recovery {
        device: device_id(&public_key, &rotation_hash),
        identity,
        public_key,
        recovery_hash,
        recovery_key: *recovery_key.public_key(),
        rotation_hash,
    }
}

/// What a new device hands to one that is already linked.
#[must_use]
pub fn link_container(identity: Digest, keys: &KeyChain) -> LinkContainer {
    let (public_key, rotation_hash) = (*keys.current().public_key(), keys.first_commitment());
    let device = device_id(&public_key, &rotation_hash);
    let authentication = Authentication { device, identity, public_key, rotation_hash };
    LinkContainer::sign(authentication, keys.current())
}

/// The members with which a device rotates, whatever it does besides. Sign with the revealed key.
#[must_use]
pub fn rotation(identity: Digest, device: Digest, reveal: &Reveal<'_>) -> Authentication {
    Authentication {
        device,
        identity,
        public_key: *reveal.key.public_key(),
        rotation_hash: reveal.commitment,
    }
}

/// A request to an application, signed by the token's access key. `request` is sent as it is.
///
/// # Errors
/// [`Error::Malformed`] if `request` is not JSON.
pub fn access_request(
    access: &AccessMembers,
    request: &str,
    key: &PrivateKey,
) -> Result<String, Error> {
    let request: &RawValue = serde_json::from_str(request).map_err(Malformed::Json)?;
    Ok(message::sign_request(access, request.get(), key))
}

/// An error reply, as far as a device can make use of it. It is not signed: it is a hint.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ErrorReply {
    /// The protocol's code, for example `BA104`.
    pub code: String,
    /// For people.
    pub message: String,
}

impl ErrorReply {
    /// Reads an error reply; the application's two old forms have no code.
    #[must_use]
    pub fn parse(reply: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Member {
            Coded(ErrorReply),
            Text(String),
        }
        #[derive(Deserialize)]
        struct Wire {
            error: Member,
        }
        Some(match serde_json::from_slice::<Wire>(reply).ok()?.error {
            Member::Coded(error) => error,
            Member::Text(message) => Self { code: String::new(), message },
        })
    }
}
