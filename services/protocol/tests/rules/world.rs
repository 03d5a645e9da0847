//! A server in memory with one account, alice's, and the means to ask it.

use hsmd_chain::{
    cesr::{Digest, Nonce},
    time::Timestamp,
};
use hsmd_protocol::{
    Authentication, CreateAccount, Error, Operation, PrivateKey, Received,
    client::{self, KeyChain, Outgoing},
    key_hash,
    server::{self, Issuer, Lifetimes},
};

use crate::memory::{Endorsed, Memory};

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(1_800_000_000_000 + millis).expect("in range")
}

/// A key of its own for each number.
pub(crate) fn key(number: u8) -> PrivateKey {
    PrivateKey::from_bytes(&[number; 32]).expect("a key")
}

/// The chain of keys `first`, `first + 1`, …
pub(crate) fn chain(first: u8) -> KeyChain {
    KeyChain::from_keys((first..first + 4).map(key)).expect("four keys")
}

pub(crate) fn hash(number: u8) -> Digest {
    key_hash(key(number).public_key())
}

pub(crate) fn nonce(number: u8) -> Nonce {
    Nonce::from_bytes([number; 16])
}

pub(crate) fn sign<O: Operation>(operation: &O, signer: u8) -> String {
    Outgoing::signed(operation, nonce(1), &key(signer)).text
}

/// The server's access key, which is endorsed.
pub(crate) const ACCESS: u8 = 200;
/// Alice's recovery key. Her device's keys are 1, 2, 3 and 4.
pub(crate) const RECOVERY: u8 = 100;

#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) store: Memory,
    pub(crate) identity: Digest,
    pub(crate) device: Digest,
}

impl World {
    pub(crate) async fn new() -> Self {
        let new = client::new_account(&chain(1), hash(RECOVERY));
        let (identity, device) = (new.identity, new.device);
        let mut world = Self { store: Memory::default(), identity, device };
        let create = sign(&CreateAccount { authentication: new }, 1);
        world.post("/account/create", &create).await.expect("a new account");
        world
    }

    /// The members of alice's rotation that reveals key 2 and commits to key 3.
    pub(crate) fn rotation(&self) -> Authentication {
        client::rotation(self.identity, self.device, &chain(1).reveal(1).expect("four keys"))
    }

    /// Posts a message as an HTTP service would: what a refused request wrote is undone.
    pub(crate) async fn post(&mut self, route: &str, message: &str) -> Result<String, Error> {
        self.post_at(route, message, at(0)).await
    }

    pub(crate) async fn post_at(
        &mut self,
        route: &str,
        message: &str,
        now: Timestamp,
    ) -> Result<String, Error> {
        let mut store = self.store.clone();
        let outcome = perform(&mut store, route, message.as_bytes(), now).await;
        if outcome.is_ok() || route == "/session/create" {
            self.store = store;
        }
        outcome
    }
}

async fn perform(
    store: &mut Memory,
    route: &str,
    message: &[u8],
    now: Timestamp,
) -> Result<String, Error> {
    let access_key = key(ACCESS);
    let issuer = Issuer { key: &access_key, lifetimes: Lifetimes::default() };
    let servers = Endorsed([*access_key.public_key()].into());
    match route {
        "/account/create" => {
            server::create_account(store, &Received::parse(message)?, now).await?;
        }
        "/account/recover" => {
            server::recover_account(store, &Received::parse(message)?, now).await?;
        }
        "/account/delete" => {
            server::delete_account(store, &Received::parse(message)?, now).await?;
        }
        "/device/rotate" => server::rotate_device(store, &Received::parse(message)?).await?,
        "/device/link" => server::link_device(store, &Received::parse(message)?, now).await?,
        "/device/unlink" => {
            server::unlink_device(store, &Received::parse(message)?, now).await?;
        }
        "/recovery/change" => {
            server::change_recovery_key(store, &Received::parse(message)?).await?;
        }
        "/session/request" => {
            let request = Received::parse(message)?;
            // Tests choose the challenge: it is the request's nonce.
            let challenge = request.nonce;
            server::request_session(store, &request, &challenge, now).await?;
        }
        "/session/create" => {
            return server::create_session(store, &Received::parse(message)?, issuer, now).await;
        }
        "/session/refresh" => {
            let request = Received::parse(message)?;
            let refreshed = server::refresh_session(store, &servers, &request, issuer, now).await?;
            return Ok(refreshed.token);
        }
        other => panic!("no route {other}"),
    }
    Ok(String::new())
}

/// The name of an error's variant.
pub(crate) fn variant(error: &Error) -> String {
    let text = format!("{error:?}");
    text.split(['(', ' ']).next().unwrap_or_default().to_owned()
}

/// Posts every message to a world of its own, expects this refusal and a store as before.
pub(crate) async fn refused(world: &World, route: &str, cases: &[(&str, String, &str)]) {
    for (name, message, expected) in cases {
        let mut world = world.clone();
        let before = world.store.clone();
        let error = world.post(route, message).await.expect_err(name);
        assert_eq!(variant(&error), *expected, "{name}");
        assert_eq!(world.store, before, "{name}: the store has changed");
    }
}
