//! Devices: rotate, link, unlink; and the rotation that all signed operations of a device contain.

use hsmd_chain::{
    cesr::{Digest, PublicKey},
    time::Timestamp,
};

use crate::{
    Error, Received, device_id, key_hash,
    operation::{
        Authentication, LinkDevice, RecoverableAuthentication, RotateDevice, UnlinkDevice,
    },
    store::{Account, Accounts},
};

/// Replaces a device's authentication key by the one it committed to.
///
/// # Errors
/// In this order: [`Error::Signature`] by the revealed key, [`Error::IdentityUnknown`],
/// [`Error::DeviceUnknown`], [`Error::DeviceRevoked`] also for a deleted account, [`Error::Hash`] for a
/// revealed key that was not committed to.
pub async fn rotate_device(
    store: &mut impl Accounts,
    request: &Received<'_, RotateDevice>,
) -> Result<(), Error> {
    let asking = &request.request.authentication;
    request.verify(&asking.public_key)?;
    Rotation::from(asking).perform(store).await
}

/// Adds a device to an account.
///
/// # Errors
/// In this order: [`Error::Signature`] by the revealed key, and by the new device in the container;
/// [`Error::IdentitiesDiffer`]; [`Error::DeviceFormula`] of the new device; the rotation's (see
/// [`rotate_device`]); [`Error::DeviceExists`] for a device that was ever registered.
pub async fn link_device(
    store: &mut impl Accounts,
    request: &Received<'_, LinkDevice>,
    now: Timestamp,
) -> Result<(), Error> {
    let LinkDevice { authentication: asking, link } = &request.request;
    request.verify(&asking.public_key)?;
    link.verify()?;
    let new = link.authentication();
    if new.identity != asking.identity {
        return Err(Error::IdentitiesDiffer);
    }
    if new.device != device_id(&new.public_key, &new.rotation_hash) {
        return Err(Error::DeviceFormula);
    }
    // Without this anybody could link a device of theirs to an account whose identity they know.
    Rotation::from(asking).perform(store).await?;
    let (key, hash) = (&new.public_key, &new.rotation_hash);
    if !store.insert_device(&new.identity, &new.device, key, hash, now).await? {
        return Err(Error::DeviceExists);
    }
    Ok(())
}

/// Revokes a device of the account, perhaps the asking one. Revoking it again changes nothing.
///
/// # Errors
/// In this order: [`Error::Signature`] by the revealed key; the rotation's (see [`rotate_device`]);
/// [`Error::DeviceUnknown`] for a device that is not the account's.
pub async fn unlink_device(
    store: &mut impl Accounts,
    request: &Received<'_, UnlinkDevice>,
    now: Timestamp,
) -> Result<Digest, Error> {
    let asking = &request.request.authentication;
    request.verify(&asking.public_key)?;
    Rotation::from(asking).perform(store).await?;
    let device = request.request.link.device;
    store.device(&asking.identity, &device).await?.ok_or(Error::DeviceUnknown)?;
    store.revoke_device(&device, now).await?;
    Ok(device)
}

/// A device reveals the key that it committed to and commits to another.
pub(super) struct Rotation<'a> {
    identity: &'a Digest,
    device: &'a Digest,
    revealed: &'a PublicKey,
    next: &'a Digest,
}

impl Rotation<'_> {
    /// Checks and stores the rotation. The request's signature by the revealed key must have been
    /// verified before.
    pub(super) async fn perform(self, store: &mut impl Accounts) -> Result<(), Error> {
        // Deleting has revoked every device, so a deleted account answers like a revoked device.
        store.lock_account(self.identity).await?.ok_or(Error::IdentityUnknown)?;
        let device = store.device(self.identity, self.device).await?.ok_or(Error::DeviceUnknown)?;
        if device.revoked {
            return Err(Error::DeviceRevoked);
        }
        if key_hash(self.revealed) != device.rotation_hash {
            return Err(Error::Hash);
        }
        Ok(store.set_device_keys(self.device, self.revealed, self.next).await?)
    }
}

impl<'a> From<&'a Authentication> for Rotation<'a> {
    fn from(asking: &'a Authentication) -> Self {
        Self {
            identity: &asking.identity,
            device: &asking.device,
            revealed: &asking.public_key,
            next: &asking.rotation_hash,
        }
    }
}

impl<'a> From<&'a RecoverableAuthentication> for Rotation<'a> {
    fn from(asking: &'a RecoverableAuthentication) -> Self {
        Self {
            identity: &asking.identity,
            device: &asking.device,
            revealed: &asking.public_key,
            next: &asking.rotation_hash,
        }
    }
}

/// The account, which exists and is not deleted.
pub(super) async fn locked_account(
    store: &mut impl Accounts,
    identity: &Digest,
) -> Result<Account, Error> {
    let account = store.lock_account(identity).await?;
    account.filter(|account| !account.deleted).ok_or(Error::IdentityUnknown)
}
