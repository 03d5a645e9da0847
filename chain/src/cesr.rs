//! The text encodings of docs/formats.md §1 (a subset of CESR): digests, public keys, signatures, nonces.
//!
//! Every type keeps its text, since hashes and signatures are over texts. There is exactly one text
//! for a value and all others are refused, so equality of texts is equality of values.

mod digest;
mod nonce;
mod public_key;
mod signature;
mod text;

pub use digest::Digest;
pub use nonce::Nonce;
pub use public_key::{BadSignature, PublicKey};
pub use signature::{Signature, SigningInput};

/// Why a text or some bytes are not the CESR value that they should be.
///
/// One variant a rule of docs/formats.md §1; the offending value itself is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CesrError {
    /// The text has another length than its type.
    #[error("{found} characters where {expected} are needed")]
    Length {
        /// The one length of this type, in characters.
        expected: usize,
        /// The length found, in bytes of UTF-8.
        found: usize,
    },
    /// The text begins with the code of another type.
    #[error("the code is not {expected}")]
    Code {
        /// The code that the text should begin with.
        expected: &'static str,
    },
    /// A character outside the URL-safe base64 alphabet, or padding.
    #[error("not URL-safe base64 without padding")]
    Base64,
    /// The bits between the code and the value are not zero.
    #[error("the lead bits are not zero")]
    LeadBits,
    /// Not a SEC1 point: wrong length or prefix (a text holds the compressed form only).
    #[error("not a SEC1 encoding of a point")]
    PointEncoding,
    /// The x coordinate belongs to no point of P-256.
    #[error("the point is not on the curve")]
    OffCurve,
    /// r or s lies outside 1 to n−1.
    #[error("r or s is out of range")]
    Scalar,
}
