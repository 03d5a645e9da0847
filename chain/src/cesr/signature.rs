//! ECDSA signatures, and the hash that a token is given to make one.

use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::{
    CesrError,
    text::{decode, encode, text_type},
};

const CODE: &str = "0I";
const LEAD: usize = 2;

/// An ECDSA P-256 signature r‖s: code `0I`, 88 characters. r and s are in range; whether it signs
/// anything is for [`PublicKey::verify`](super::PublicKey::verify) to say.
#[derive(Clone, Copy)]
pub struct Signature {
    text: [u8; Self::LENGTH],
    scalars: p256::ecdsa::Signature,
}

text_type!(Signature, "an ECDSA P-256 signature (code 0I, 88 characters)");

impl Signature {
    /// Characters in every signature's text.
    pub const LENGTH: usize = 88;

    /// Takes r‖s, each 32 bytes big-endian, as CKM_ECDSA returns it. Values outside 1 to n−1 are
    /// refused.
    pub fn from_bytes(bytes: &[u8; 64]) -> Result<Self, CesrError> {
        let scalars = scalars(bytes)?;
        Ok(Self { text: encode(CODE, LEAD, bytes), scalars })
    }

    /// r‖s, each 32 bytes big-endian, as JOSE has it.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 64] {
        self.scalars.to_bytes().into()
    }

    pub(super) fn scalars(&self) -> &p256::ecdsa::Signature {
        &self.scalars
    }
}

impl FromStr for Signature {
    type Err = CesrError;

    fn from_str(text: &str) -> Result<Self, CesrError> {
        let (text, bytes): (_, [u8; 64]) = decode(CODE, LEAD, text)?;
        Ok(Self { text, scalars: scalars(&bytes)? })
    }
}

fn scalars(bytes: &[u8; 64]) -> Result<p256::ecdsa::Signature, CesrError> {
    p256::ecdsa::Signature::from_slice(bytes).map_err(|_| CesrError::Scalar)
}

/// SHA-256 of a text that a generation key may sign. Only [`Event`](crate::Event) and
/// [`Body`](crate::Body) make one, so code that signs nothing but these cannot be made to sign bare
/// bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SigningInput([u8; 32]);

impl SigningInput {
    pub(crate) fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// The 32 bytes for CKM_ECDSA.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}
