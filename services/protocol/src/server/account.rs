//! Accounts: create, recover, delete, and another recovery key.

use hsmd_chain::{cesr::Digest, time::Timestamp};

use super::device::{Rotation, locked_account};
use crate::{
    Error, Received, device_id, identity_id, key_hash,
    operation::{ChangeRecoveryKey, CreateAccount, DeleteAccount, RecoverAccount},
    store::Accounts,
};

/// Registers a new account with its first device.
///
/// # Errors
/// In this order: [`Error::Signature`] by the revealed key, [`Error::IdentityFormula`],
/// [`Error::DeviceFormula`]; [`Error::IdentityExists`] or [`Error::DeviceExists`], which were ever
/// registered.
pub async fn create_account(
    store: &mut impl Accounts,
    request: &Received<'_, CreateAccount>,
    now: Timestamp,
) -> Result<(), Error> {
    let new = &request.request.authentication;
    request.verify(&new.public_key)?;
    if new.identity != identity_id(&new.public_key, &new.rotation_hash, &new.recovery_hash) {
        return Err(Error::IdentityFormula);
    }
    if new.device != device_id(&new.public_key, &new.rotation_hash) {
        return Err(Error::DeviceFormula);
    }
    if !store.insert_account(&new.identity, &new.recovery_hash, now).await? {
        return Err(Error::IdentityExists);
    }
    let (key, hash) = (&new.public_key, &new.rotation_hash);
    if !store.insert_device(&new.identity, &new.device, key, hash, now).await? {
        return Err(Error::DeviceExists);
    }
    Ok(())
}

/// Replaces all devices of an account by a new one, for the holder of the recovery key. Returns the
/// devices that it revoked.
///
/// # Errors
/// In this order: [`Error::Signature`] by the recovery key, [`Error::DeviceFormula`],
/// [`Error::IdentityUnknown`] also for a deleted account, [`Error::Hash`] for a recovery key that was
/// not committed to, [`Error::DeviceExists`] for a device that was ever registered.
pub async fn recover_account(
    store: &mut impl Accounts,
    request: &Received<'_, RecoverAccount>,
    now: Timestamp,
) -> Result<Vec<Digest>, Error> {
    let new = &request.request.authentication;
    request.verify(&new.recovery_key)?;
    if new.device != device_id(&new.public_key, &new.rotation_hash) {
        return Err(Error::DeviceFormula);
    }
    let account = locked_account(store, &new.identity).await?;
    if key_hash(&new.recovery_key) != account.recovery_hash {
        return Err(Error::Hash);
    }
    store.set_recovery_hash(&new.identity, &new.recovery_hash).await?;
    let revoked = store.revoke_devices(&new.identity, now).await?;
    let (key, hash) = (&new.public_key, &new.rotation_hash);
    if !store.insert_device(&new.identity, &new.device, key, hash, now).await? {
        return Err(Error::DeviceExists);
    }
    Ok(revoked)
}

/// Ends an account for ever. Returns the devices that it revoked.
///
/// # Errors
/// In this order: [`Error::Signature`] by the revealed key; the rotation's (see
/// [`super::rotate_device`]).
pub async fn delete_account(
    store: &mut impl Accounts,
    request: &Received<'_, DeleteAccount>,
    now: Timestamp,
) -> Result<Vec<Digest>, Error> {
    let asking = &request.request.authentication;
    request.verify(&asking.public_key)?;
    Rotation::from(asking).perform(store).await?;
    let revoked = store.revoke_devices(&asking.identity, now).await?;
    store.delete_account(&asking.identity, now).await?;
    Ok(revoked)
}

/// Commits to another recovery key.
///
/// # Errors
/// In this order: [`Error::Signature`] by the revealed key; the rotation's (see
/// [`super::rotate_device`]).
pub async fn change_recovery_key(
    store: &mut impl Accounts,
    request: &Received<'_, ChangeRecoveryKey>,
) -> Result<(), Error> {
    let asking = &request.request.authentication;
    request.verify(&asking.public_key)?;
    Rotation::from(asking).perform(store).await?;
    store.set_recovery_hash(&asking.identity, &asking.recovery_hash).await?;
    Ok(())
}
