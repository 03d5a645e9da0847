//! A device's session: a token, its access key, and requests made with them.

use std::time::Duration;

use hsmd_chain::{
    cesr::{Digest, Nonce},
    time::Timestamp,
};
use hsmd_client::Clock;
use hsmd_protocol::{
    AccessToken, Attributes, PrivateKey, access::AccessMembers, client::access_request,
};
use hsmd_service::random;

/// What a request says, as long as nobody asks for anything else.
pub(crate) const REQUEST: &str = r#"{"foo":"bar-y","bar":"foo-y"}"#;

/// A session whose parts can be spoilt one by one.
pub(crate) struct Session {
    pub(crate) token: AccessToken,
    /// The access key, which signs requests.
    pub(crate) key: PrivateKey,
    /// The server's key, which signs the token.
    pub(crate) server: PrivateKey,
}

impl Session {
    pub(crate) fn new(server: &PrivateKey) -> Self {
        let key = random::key();
        let now = now();
        let token = AccessToken {
            server_identity: *server.public_key(),
            device: Digest::of(key.public_key().as_str().as_bytes()),
            identity: Digest::of(b"an account"),
            public_key: *key.public_key(),
            rotation_hash: random::key().public_key().digest(),
            issued_at: now,
            expiry: now.saturating_add(Duration::from_secs(900)),
            refresh_expiry: now.saturating_add(Duration::from_secs(43_200)),
            attributes: Attributes::user(),
        };
        Self { token, key, server: server.clone() }
    }

    pub(crate) fn token_text(&self) -> String {
        self.token.encode(&self.server).unwrap()
    }

    /// A request made now.
    pub(crate) fn request(&self) -> String {
        self.request_with(random::nonce(), now(), self.token_text(), REQUEST)
    }

    pub(crate) fn request_at(&self, timestamp: Timestamp) -> String {
        self.request_with(random::nonce(), timestamp, self.token_text(), REQUEST)
    }

    pub(crate) fn request_with(
        &self,
        nonce: Nonce,
        timestamp: Timestamp,
        token: String,
        request: &str,
    ) -> String {
        access_request(
            &AccessMembers { nonce, timestamp: timestamp.into(), token },
            request,
            &self.key,
        )
        .unwrap()
    }
}

pub(crate) fn now() -> Timestamp {
    Clock::system().now()
}

/// Seconds before now, or after.
pub(crate) fn seconds_ago(seconds: u64) -> Timestamp {
    now().checked_sub(Duration::from_secs(seconds)).unwrap()
}

pub(crate) fn in_seconds(seconds: u64) -> Timestamp {
    now().saturating_add(Duration::from_secs(seconds))
}
