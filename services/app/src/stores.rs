//! What the access rules ask of Redis: has this request been made before, is this device revoked.

use hsmd_chain::{
    cesr::{Digest, Nonce},
    time::Timestamp,
};
use hsmd_protocol::{
    access::AccessWindow,
    store::{AccessStore, StoreError},
};
use hsmd_service::random;
use hsmd_store::{DeviceStatus, NonceUse, Nonces, RevokedDevices, Store};

/// Redis 5 and 3. Nothing is kept in this process, so its memory does not grow with requests.
pub(crate) struct Stores {
    nonces: Nonces,
    revoked: RevokedDevices,
}

impl Stores {
    pub(crate) fn new(store: Store) -> Self {
        Self { nonces: store.nonces, revoked: store.revoked_devices }
    }
}

impl AccessStore for Stores {
    async fn use_nonce(
        &self,
        nonce: &Nonce,
        requested_at: Timestamp,
        window: AccessWindow,
    ) -> Result<bool, StoreError> {
        let attempt = random::nonce();
        let answer = self
            .nonces
            .use_once(nonce, requested_at, window.age, window.clock_skew, &attempt)
            .await?;
        match answer {
            NonceUse::Fresh => Ok(true),
            NonceUse::Used => Ok(false),
            NonceUse::Unknown => {
                Err("an earlier use may be forgotten, or Redis' clock is far behind".into())
            }
        }
    }

    async fn is_revoked(&self, device: &Digest) -> Result<bool, StoreError> {
        match self.revoked.status(device).await? {
            DeviceStatus::Active => Ok(false),
            DeviceStatus::Revoked => Ok(true),
            DeviceStatus::Unknown => Err("Redis does not hold all revocations".into()),
        }
    }
}
