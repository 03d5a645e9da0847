//! BLAKE3-256 digests, which also name events and identities.

use std::str::FromStr;

use super::{
    CesrError,
    text::{decode, encode, text_type},
};

const CODE: &str = "E";
const LEAD: usize = 1;

/// A BLAKE3-256 digest: code `E`, 44 characters. Event ids, identities and rotation hashes are
/// digests; what was hashed is up to the format that holds one.
#[derive(Clone, Copy)]
pub struct Digest {
    text: [u8; Self::LENGTH],
}

text_type!(Digest, "a BLAKE3-256 digest (code E, 44 characters)");

impl Digest {
    /// Characters in every digest's text.
    pub const LENGTH: usize = 44;

    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_raw(blake3::hash(bytes).as_bytes())
    }

    /// The digest of these 32 bytes, for trees, whose nodes are hashed raw.
    pub fn from_raw(bytes: &[u8; 32]) -> Self {
        Self { text: encode(CODE, LEAD, bytes) }
    }

    /// The 32 bytes.
    pub fn to_raw(&self) -> [u8; 32] {
        #[expect(clippy::expect_used, reason = "the text was made or checked by this type")]
        let (_, bytes): (_, [u8; 32]) =
            decode::<{ Self::LENGTH }, 32>(CODE, LEAD, self.as_str()).expect("a digest's text");
        bytes
    }
}

impl FromStr for Digest {
    type Err = CesrError;

    fn from_str(text: &str) -> Result<Self, CesrError> {
        let (text, _): (_, [u8; 32]) = decode(CODE, LEAD, text)?;
        Ok(Self { text })
    }
}
