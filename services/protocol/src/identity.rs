//! How identities, devices and commitments are computed: hashes over concatenated texts.

use hsmd_chain::cesr::{Digest, PublicKey};

/// The device id: H(publicKey ‖ rotationHash) of the device's first key. Constant afterwards.
#[must_use]
pub fn device_id(public_key: &PublicKey, rotation_hash: &Digest) -> Digest {
    Digest::of([public_key.as_str(), rotation_hash.as_str()].concat().as_bytes())
}

/// The identity: H(publicKey ‖ rotationHash ‖ recoveryHash) of the account's first device.
#[must_use]
pub fn identity_id(
    public_key: &PublicKey,
    rotation_hash: &Digest,
    recovery_hash: &Digest,
) -> Digest {
    let texts = [public_key.as_str(), rotation_hash.as_str(), recovery_hash.as_str()];
    Digest::of(texts.concat().as_bytes())
}

/// H(publicKey): what commits to a next key (`rotationHash`) or to a recovery key (`recoveryHash`).
#[must_use]
pub fn key_hash(public_key: &PublicKey) -> Digest {
    public_key.digest()
}
