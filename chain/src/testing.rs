//! Support for tests of this and other crates: software keys, a builder of valid logs, drafts of
//! hostile events that are hashed and signed again after each change, and random cases.
//!
//! Keys follow from seeds and times are arguments, so everything made here is the same in every
//! run. It panics where a test asks for the impossible; no shipped binary enables the feature.
#![expect(clippy::expect_used, reason = "a test that asks for the impossible should fail loudly")]

mod draft;
mod log_builder;
pub mod oracle;
mod random;

pub use draft::{Draft, published};
pub use log_builder::LogBuilder;
pub use random::Random;

use p256::ecdsa::{SigningKey, signature::Signer as _};

use crate::cesr::{Digest, PublicKey, Signature};
use crate::time::Timestamp;

/// A P-256 key pair in memory, standing in for one in a token. Signatures are deterministic
/// (RFC 6979).
#[derive(Clone)]
pub struct SoftwareKey {
    key: SigningKey,
    public_key: PublicKey,
}

impl SoftwareKey {
    /// The key of a seed: always the same one.
    pub fn from_seed(seed: &str) -> Self {
        Self::from_bytes(blake3::hash(seed.as_bytes()).as_bytes())
    }

    /// The key of a private scalar, 32 bytes big-endian.
    pub fn from_bytes(scalar: &[u8; 32]) -> Self {
        let key = SigningKey::from_slice(scalar).expect("the scalar is in range");
        let point = key.verifying_key().to_sec1_point(true);
        let public_key = PublicKey::from_sec1(point.as_bytes()).expect("a key has a point");
        Self { key, public_key }
    }

    /// The public key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// What an event that commits to this key carries as `rotationHash`.
    pub fn digest(&self) -> Digest {
        self.public_key.digest()
    }

    /// Signs SHA-256 of `message`.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let signature: p256::ecdsa::Signature = self.key.sign(message);
        Signature::from_bytes(&signature.to_bytes().into()).expect("a signature is in range")
    }

    /// The other valid signature of `message`: the same r, and n − s in place of s.
    pub fn sign_other_s(&self, message: &[u8]) -> Signature {
        let signature: p256::ecdsa::Signature = self.key.sign(message);
        let (r, s) = signature.split_scalars();
        let other =
            p256::ecdsa::Signature::from_scalars(r.to_bytes(), (-s).to_bytes()).expect("in range");
        Signature::from_bytes(&other.to_bytes().into()).expect("a signature is in range")
    }
}

/// A timestamp from its text, for tests.
pub fn at(text: &str) -> Timestamp {
    text.parse().expect("a timestamp")
}
