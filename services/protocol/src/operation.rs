//! The ten operations of the auth service: their routes, `request` members and `response`.
//!
//! Fields stand in the order of the wire form, which is alphabetical.

use hsmd_chain::cesr::{Digest, Nonce, PublicKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::link::LinkContainer;

/// An operation's `request` member.
pub trait Operation: Serialize + DeserializeOwned + Send + Sync {
    /// The path it is posted to.
    const ROUTE: &'static str;
    /// Whether the message carries a signature.
    const SIGNED: bool = true;
    /// The reply's `response` member.
    type Response: Serialize + DeserializeOwned + Send;
}

macro_rules! wire {
    ($(
        $(#[$doc:meta])*
        $name:ident { $( $(#[$field_doc:meta])* $field:ident: $type:ty, )+ }
        $( = $route:literal -> $response:ty $(, signed: $signed:literal)? )?;
    )+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "camelCase")]
        pub struct $name { $( $(#[$field_doc])* pub $field: $type, )+ }

        $(impl Operation for $name {
            const ROUTE: &'static str = $route;
            $(const SIGNED: bool = $signed;)?
            type Response = $response;
        })?
    )+};
}

// What the operations' members are made of.
wire! {
    /// The four members with which a device reveals one authentication key and commits to the next.
    Authentication {
        /// The device's id.
        device: Digest,
        /// The account.
        identity: Digest,
        /// The key that is revealed.
        public_key: PublicKey,
        /// The commitment to the next key.
        rotation_hash: Digest,
    };

    /// The same, with a commitment to a recovery key.
    RecoverableAuthentication {
        /// The device's id.
        device: Digest,
        /// The account.
        identity: Digest,
        /// The key that is revealed.
        public_key: PublicKey,
        /// The commitment to the recovery key that shall count from now on.
        recovery_hash: Digest,
        /// The commitment to the next key.
        rotation_hash: Digest,
    };

    /// A new device's keys, vouched for by the recovery key.
    Recovery {
        /// The new device's id.
        device: Digest,
        /// The account.
        identity: Digest,
        /// The new device's first key.
        public_key: PublicKey,
        /// The commitment to the recovery key that shall count from now on.
        recovery_hash: Digest,
        /// The recovery key that was committed to, and which signs.
        recovery_key: PublicKey,
        /// The commitment to the new device's next key.
        rotation_hash: Digest,
    };

    /// Names a device.
    DeviceReference {
        /// The device's id.
        device: Digest,
    };

    /// Names an account.
    IdentityReference {
        /// The account.
        identity: Digest,
    };

    /// The answer to a challenge.
    ChallengeAnswer {
        /// The device that asks for a session.
        device: Digest,
        /// The challenge.
        nonce: Nonce,
    };

    /// The access keys of a new session.
    SessionKeys {
        /// The key that will sign access requests.
        public_key: PublicKey,
        /// The commitment to the access key after that.
        rotation_hash: Digest,
    };

    /// The access keys of a session that goes on.
    RefreshedKeys {
        /// The key that the token committed to, and which signs.
        public_key: PublicKey,
        /// The commitment to the access key after that.
        rotation_hash: Digest,
        /// The token of the session so far.
        token: String,
    };

    /// A challenge.
    Challenge {
        /// To be answered within its lifetime, once.
        nonce: Nonce,
    };

    /// A token.
    Token {
        /// For [`AccessToken::decode`](crate::AccessToken::decode), and for access requests.
        token: String,
    };
}

/// The response of operations that have nothing to say: `{}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

// The operations and the responses that are more than `{}`.
wire! {
    /// Registers a new account with its first device.
    CreateAccount {
        /// The first device's keys and the recovery hash, of which the identity is made.
        #[serde(with = "crate::ordered")]
        authentication: RecoverableAuthentication,
    } = "/account/create" -> Empty;

    /// Replaces all devices of an account by a new one.
    RecoverAccount {
        /// The new device's keys and the recovery key.
        #[serde(with = "crate::ordered")]
        authentication: Recovery,
    } = "/account/recover" -> Empty;

    /// Ends an account for ever.
    DeleteAccount {
        /// A rotation of the asking device.
        #[serde(with = "crate::ordered")]
        authentication: Authentication,
    } = "/account/delete" -> Empty;

    /// Replaces a device's authentication key by the one it committed to.
    RotateDevice {
        /// The rotation.
        #[serde(with = "crate::ordered")]
        authentication: Authentication,
    } = "/device/rotate" -> Empty;

    /// Adds a device to an account.
    LinkDevice {
        /// A rotation of the asking device.
        #[serde(with = "crate::ordered")]
        authentication: Authentication,
        /// The new device's keys, signed by itself.
        #[serde(with = "crate::ordered")]
        link: LinkContainer,
    } = "/device/link" -> Empty;

    /// Revokes a device of an account, perhaps the asking one.
    UnlinkDevice {
        /// A rotation of the asking device.
        #[serde(with = "crate::ordered")]
        authentication: Authentication,
        /// The device to revoke.
        #[serde(with = "crate::ordered")]
        link: DeviceReference,
    } = "/device/unlink" -> Empty;

    /// Commits to another recovery key.
    ChangeRecoveryKey {
        /// A rotation of the asking device, with the new recovery hash.
        #[serde(with = "crate::ordered")]
        authentication: RecoverableAuthentication,
    } = "/recovery/change" -> Empty;

    /// Asks for a challenge.
    RequestSession {
        /// Whose devices may answer it.
        #[serde(with = "crate::ordered")]
        authentication: IdentityReference,
    } = "/session/request" -> ChallengeReply, signed: false;

    /// Asks for an access token, signed by the device's current authentication key.
    CreateSession {
        /// The session's keys.
        #[serde(with = "crate::ordered")]
        access: SessionKeys,
        /// The device and the challenge.
        #[serde(with = "crate::ordered")]
        authentication: ChallengeAnswer,
    } = "/session/create" -> SessionReply;

    /// Asks for the next access token of a session.
    RefreshSession {
        /// The revealed access key, the next commitment and the token so far.
        #[serde(with = "crate::ordered")]
        access: RefreshedKeys,
    } = "/session/refresh" -> SessionReply;

    /// The response to [`RequestSession`].
    ChallengeReply {
        /// The challenge.
        #[serde(with = "crate::ordered")]
        authentication: Challenge,
    };

    /// The response to [`CreateSession`] and [`RefreshSession`].
    SessionReply {
        /// The token.
        #[serde(with = "crate::ordered")]
        access: Token,
    };
}
