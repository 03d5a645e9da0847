//! 128-bit nonces, as the Better Auth messages carry them.

use std::str::FromStr;

use super::{
    CesrError,
    text::{decode, encode, text_type},
};

const CODE: &str = "0A";
const LEAD: usize = 2;

/// A 128-bit nonce: code `0A`, 24 characters. Where the bits come from is the caller's affair:
/// nothing here draws random numbers.
#[derive(Clone, Copy)]
pub struct Nonce {
    text: [u8; Self::LENGTH],
}

text_type!(Nonce, "a 128-bit nonce (code 0A, 24 characters)");

impl Nonce {
    /// Characters in every nonce's text.
    pub const LENGTH: usize = 24;

    /// Makes the text of 16 bytes, which should be random.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self { text: encode(CODE, LEAD, &bytes) }
    }
}

impl FromStr for Nonce {
    type Err = CesrError;

    fn from_str(text: &str) -> Result<Self, CesrError> {
        let (text, _): (_, [u8; 16]) = decode(CODE, LEAD, text)?;
        Ok(Self { text })
    }
}
