//! The stores of the rules as plain maps, one clone of which stands for a transaction.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use hsmd_chain::{
    cesr::{Digest, Nonce, PublicKey},
    time::Timestamp,
};
use hsmd_protocol::{
    access::AccessWindow,
    store::{
        AccessStore, Account, Accounts, Device, GivenChallenge, ServerKeys, Sessions, StoreError,
    },
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) accounts: BTreeMap<Digest, Account>,
    pub(crate) devices: BTreeMap<Digest, (Digest, Device)>,
    pub(crate) challenges: BTreeMap<Nonce, GivenChallenge>,
    pub(crate) refreshed: BTreeSet<Digest>,
}

impl Accounts for Memory {
    async fn insert_account(
        &mut self,
        identity: &Digest,
        recovery_hash: &Digest,
        _now: Timestamp,
    ) -> Result<bool, StoreError> {
        let account = Account { recovery_hash: *recovery_hash, deleted: false };
        if self.accounts.contains_key(identity) {
            return Ok(false);
        }
        Ok(self.accounts.insert(*identity, account).is_none())
    }

    async fn lock_account(&mut self, identity: &Digest) -> Result<Option<Account>, StoreError> {
        Ok(self.accounts.get(identity).copied())
    }

    async fn set_recovery_hash(
        &mut self,
        identity: &Digest,
        hash: &Digest,
    ) -> Result<(), StoreError> {
        self.accounts.get_mut(identity).expect("locked").recovery_hash = *hash;
        Ok(())
    }

    async fn delete_account(
        &mut self,
        identity: &Digest,
        _now: Timestamp,
    ) -> Result<(), StoreError> {
        self.accounts.get_mut(identity).expect("locked").deleted = true;
        Ok(())
    }

    async fn insert_device(
        &mut self,
        identity: &Digest,
        device: &Digest,
        public_key: &PublicKey,
        rotation_hash: &Digest,
        _now: Timestamp,
    ) -> Result<bool, StoreError> {
        if self.devices.contains_key(device) {
            return Ok(false);
        }
        let keys =
            Device { public_key: *public_key, rotation_hash: *rotation_hash, revoked: false };
        Ok(self.devices.insert(*device, (*identity, keys)).is_none())
    }

    async fn device(
        &mut self,
        identity: &Digest,
        device: &Digest,
    ) -> Result<Option<Device>, StoreError> {
        let found = self.devices.get(device).filter(|(owner, _)| owner == identity);
        Ok(found.map(|(_, device)| *device))
    }

    async fn set_device_keys(
        &mut self,
        device: &Digest,
        public_key: &PublicKey,
        rotation_hash: &Digest,
    ) -> Result<(), StoreError> {
        let (_, device) = self.devices.get_mut(device).expect("found before");
        device.public_key = *public_key;
        device.rotation_hash = *rotation_hash;
        Ok(())
    }

    async fn revoke_device(&mut self, device: &Digest, _now: Timestamp) -> Result<(), StoreError> {
        self.devices.get_mut(device).expect("found before").1.revoked = true;
        Ok(())
    }

    async fn revoke_devices(
        &mut self,
        identity: &Digest,
        _now: Timestamp,
    ) -> Result<Vec<Digest>, StoreError> {
        let mut revoked = Vec::new();
        for (id, (owner, device)) in &mut self.devices {
            if owner == identity && !device.revoked {
                device.revoked = true;
                revoked.push(*id);
            }
        }
        Ok(revoked)
    }
}

impl Sessions for Memory {
    async fn insert_challenge(
        &mut self,
        nonce: &Nonce,
        identity: &Digest,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if self.accounts.get(identity).is_some_and(|account| !account.deleted) {
            self.challenges.insert(*nonce, GivenChallenge { identity: *identity, given_at: now });
        }
        Ok(())
    }

    async fn use_challenge(
        &mut self,
        nonce: &Nonce,
        _now: Timestamp,
    ) -> Result<Option<GivenChallenge>, StoreError> {
        Ok(self.challenges.remove(nonce))
    }

    async fn reserve_refresh(
        &mut self,
        hash: &Digest,
        _device: &Digest,
        _until: Timestamp,
    ) -> Result<bool, StoreError> {
        Ok(self.refreshed.insert(*hash))
    }
}

/// Endorsed server keys.
#[derive(Debug, Default)]
pub(crate) struct Endorsed(pub(crate) BTreeSet<PublicKey>);

impl ServerKeys for Endorsed {
    async fn is_endorsed(&self, key: &PublicKey, _now: Timestamp) -> Result<bool, StoreError> {
        Ok(self.0.contains(key))
    }
}

/// What an application remembers; `Err` when it can't tell.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    pub(crate) nonces: Mutex<BTreeSet<Nonce>>,
    pub(crate) revoked: BTreeSet<Digest>,
    pub(crate) away: bool,
}

impl AccessStore for Remembered {
    async fn use_nonce(
        &self,
        nonce: &Nonce,
        _requested_at: Timestamp,
        _window: AccessWindow,
    ) -> Result<bool, StoreError> {
        if self.away {
            return Err("away".into());
        }
        Ok(self.nonces.lock().expect("no panic").insert(*nonce))
    }

    async fn is_revoked(&self, device: &Digest) -> Result<bool, StoreError> {
        if self.away { Err("away".into()) } else { Ok(self.revoked.contains(device)) }
    }
}
