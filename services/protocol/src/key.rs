//! Private keys of devices and servers, which live in memory and, for devices, in their file.

use std::fmt;

use hsmd_chain::cesr::{PublicKey, Signature};
use p256::ecdsa::{SigningKey, signature::Signer};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

/// A P-256 private key with its public key. The secret is overwritten when it is dropped and never
/// printed. Signatures are deterministic (RFC 6979), so signing needs no randomness.
#[derive(Clone)]
pub struct PrivateKey {
    secret: SigningKey,
    public: PublicKey,
}

impl PrivateKey {
    /// A fresh key from the given randomness.
    pub fn generate(random: &mut impl CryptoRng) -> Self {
        loop {
            let mut bytes = Zeroizing::new([0_u8; 32]);
            random.fill_bytes(&mut *bytes);
            // One candidate in 2^32 is not below the curve's order.
            if let Some(key) = Self::from_bytes(&bytes) {
                return key;
            }
        }
    }

    /// The key with this secret scalar (32 bytes, big endian), unless it is zero or not below the
    /// curve's order.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let secret = SigningKey::from_slice(bytes).ok()?;
        let point = secret.verifying_key().to_sec1_point(true);
        let public = PublicKey::from_sec1(point.as_bytes()).ok()?;
        Some(Self { secret, public })
    }

    /// The secret scalar, for keeping it in a device's file.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.secret.to_bytes().into())
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a text: ECDSA over its SHA-256.
    #[must_use]
    pub fn sign(&self, text: &str) -> Signature {
        let signature: p256::ecdsa::Signature = self.secret.sign(text.as_bytes());
        signature_text(&signature.to_bytes().into())
    }
}

#[expect(
    clippy::expect_used,
    reason = "an ECDSA signature that was just made has r and s in 1..n-1, which is all that is checked"
)]
fn signature_text(bytes: &[u8; 64]) -> Signature {
    Signature::from_bytes(bytes).expect("a fresh signature is well formed")
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").field("public", &self.public).finish_non_exhaustive()
    }
}
