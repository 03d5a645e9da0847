//! P-256 public keys and the check of a signature.

use std::str::FromStr;

use p256::ecdsa::{VerifyingKey, signature::Verifier as _};

use super::{
    CesrError, Digest, Signature,
    text::{decode, encode, text_type},
};

const CODE: &str = "1AAI";
const LEAD: usize = 0;

/// A P-256 public key: code `1AAI`, 48 characters, compressed. Its point is on the curve and not
/// the identity; two keys are equal when their texts are.
#[derive(Clone, Copy)]
pub struct PublicKey {
    text: [u8; Self::LENGTH],
    // Kept next to the text: finding y again costs a square root at every check.
    key: VerifyingKey,
}

text_type!(PublicKey, "a compressed P-256 public key (code 1AAI, 48 characters)");

/// The signature is not one of this key over this message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

impl PublicKey {
    /// Characters in every public key's text.
    pub const LENGTH: usize = 48;

    /// Takes a point in SEC1 form, compressed (33 bytes) or uncompressed (65 bytes), as tokens
    /// give it. The hybrid and compact forms and the point at infinity are refused.
    pub fn from_sec1(bytes: &[u8]) -> Result<Self, CesrError> {
        match (bytes.first(), bytes.len()) {
            (Some(2 | 3), 33) | (Some(4), 65) => {}
            _ => return Err(CesrError::PointEncoding),
        }
        let key = VerifyingKey::from_sec1_bytes(bytes).map_err(|_| CesrError::OffCurve)?;
        let compressed = key.to_sec1_point(true);
        Ok(Self { text: encode(CODE, LEAD, compressed.as_bytes()), key })
    }

    /// The digest of the 48-character text: what a `rotationHash` commits to.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.text)
    }

    /// Checks an ECDSA signature over SHA-256 of `message`. High and low s are both accepted.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        self.key.verify(message, signature.scalars()).map_err(|_| BadSignature)
    }
}

impl FromStr for PublicKey {
    type Err = CesrError;

    fn from_str(text: &str) -> Result<Self, CesrError> {
        let (text, point): (_, [u8; 33]) = decode(CODE, LEAD, text)?;
        if !matches!(point[0], 2 | 3) {
            return Err(CesrError::PointEncoding);
        }
        let key = VerifyingKey::from_sec1_bytes(&point).map_err(|_| CesrError::OffCurve)?;
        Ok(Self { text, key })
    }
}
