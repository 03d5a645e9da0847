//! What the rules need to have stored, as small traits. An auth server implements [`Accounts`] and
//! [`Sessions`] for a database transaction: a rule's calls take effect together or not at all.

use std::future::Future;

use hsmd_chain::{
    cesr::{Digest, Nonce, PublicKey},
    time::Timestamp,
};

use crate::{Error, access::AccessWindow};

/// A failure of the storage itself; it decides nothing about the request.
pub type StoreError = Box<dyn std::error::Error + Send + Sync>;

impl From<StoreError> for Error {
    fn from(source: StoreError) -> Self {
        Self::Unavailable(source)
    }
}

/// What a call to a store returns.
pub trait Stored<T>: Future<Output = Result<T, StoreError>> + Send {}

impl<T, F: Future<Output = Result<T, StoreError>> + Send> Stored<T> for F {}

/// An account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// The commitment to the recovery key.
    pub recovery_hash: Digest,
    /// Whether it has been deleted, which is for ever.
    pub deleted: bool,
}

/// A device of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its current authentication key.
    pub public_key: PublicKey,
    /// The commitment to the next one.
    pub rotation_hash: Digest,
    /// Whether it has been revoked, which is for ever.
    pub revoked: bool,
}

/// A challenge that has been given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenChallenge {
    /// Whose devices may answer it.
    pub identity: Digest,
    /// When it was given.
    pub given_at: Timestamp,
}

/// Accounts and their devices, inside one transaction.
pub trait Accounts: Send {
    /// Registers an account; false if the identity has ever been registered, deleted or not.
    fn insert_account(
        &mut self,
        identity: &Digest,
        recovery_hash: &Digest,
        now: Timestamp,
    ) -> impl Stored<bool>;

    /// Finds an account and keeps every other transaction that asks for it waiting until this one
    /// has ended: what is decided about an account is decided in one order.
    fn lock_account(&mut self, identity: &Digest) -> impl Stored<Option<Account>>;

    /// Replaces a locked account's recovery hash.
    fn set_recovery_hash(&mut self, identity: &Digest, hash: &Digest) -> impl Stored<()>;

    /// Marks a locked account as deleted.
    fn delete_account(&mut self, identity: &Digest, now: Timestamp) -> impl Stored<()>;

    /// Registers a device; false if the device has ever been registered, for whatever account.
    fn insert_device(
        &mut self,
        identity: &Digest,
        device: &Digest,
        public_key: &PublicKey,
        rotation_hash: &Digest,
        now: Timestamp,
    ) -> impl Stored<bool>;

    /// A device of this account.
    fn device(&mut self, identity: &Digest, device: &Digest) -> impl Stored<Option<Device>>;

    /// Replaces a device's key and commitment.
    fn set_device_keys(
        &mut self,
        device: &Digest,
        public_key: &PublicKey,
        rotation_hash: &Digest,
    ) -> impl Stored<()>;

    /// Revokes a device of this account that is not revoked yet.
    fn revoke_device(&mut self, device: &Digest, now: Timestamp) -> impl Stored<()>;

    /// Revokes all devices of an account that are not revoked yet and names them.
    fn revoke_devices(&mut self, identity: &Digest, now: Timestamp) -> impl Stored<Vec<Digest>>;
}

/// Challenges and refreshes, inside the same transaction.
pub trait Sessions: Accounts {
    /// Stores a challenge if the identity exists and is not deleted. Takes as long either way.
    fn insert_challenge(
        &mut self,
        nonce: &Nonce,
        identity: &Digest,
        now: Timestamp,
    ) -> impl Stored<()>;

    /// Marks a challenge as used and returns it, unless it is not known or already used. Of two
    /// transactions that try, one gets it.
    fn use_challenge(
        &mut self,
        nonce: &Nonce,
        now: Timestamp,
    ) -> impl Stored<Option<GivenChallenge>>;

    /// Reserves the hash of an access key that is used for a refresh, to be kept until `until` at
    /// least; false if it has been reserved before. Of two transactions that try, one gets it.
    fn reserve_refresh(
        &mut self,
        hash: &Digest,
        device: &Digest,
        until: Timestamp,
    ) -> impl Stored<bool>;
}

/// Which servers' access keys are endorsed. The implementor verifies the stored endorsement against a
/// verified key log, for purpose `access`, with its own look-back window.
pub trait ServerKeys: Sync {
    /// Whether this access key is endorsed now. An error if that can't be told, because the
    /// endorsement can't be fetched or the key log is stale.
    fn is_endorsed(&self, key: &PublicKey, now: Timestamp) -> impl Stored<bool>;
}

/// What an application asks its stores, which its replicas share.
pub trait AccessStore: Sync {
    /// Uses the nonce of a request; false if it has been used. An error if an earlier use could have
    /// been forgotten. It is remembered until the request's timestamp is out of the window.
    fn use_nonce(
        &self,
        nonce: &Nonce,
        requested_at: Timestamp,
        window: AccessWindow,
    ) -> impl Stored<bool>;

    /// Whether a device is among the revoked. An error if that can't be told.
    fn is_revoked(&self, device: &Digest) -> impl Stored<bool>;
}
