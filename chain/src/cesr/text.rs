//! Fixed-length texts: the encoder, the strict decoder, and the trait impls that all types share.
//!
//! Encoded bytes always fill whole groups of three, so base64 itself has no trailing bits to check
//! here; the slack is at the front, in the lead bits that a code covers only in part.

use base64ct::{Base64UrlUnpadded, Encoding as _};

use super::CesrError;

/// Encodes `lead` zero bytes and then `bytes`, and puts `code` over the first characters.
/// `lead` equals the code's length when the code replaces characters, 0 when it stands before them.
pub(super) fn encode<const TEXT: usize>(
    code: &'static str,
    lead: usize,
    bytes: &[u8],
) -> [u8; TEXT] {
    let mut raw = [0_u8; MAX_RAW];
    let raw = &mut raw[..lead + bytes.len()];
    raw[lead..].copy_from_slice(bytes);
    let mut text = [0_u8; TEXT];
    let start = if lead == 0 { code.len() } else { 0 };
    #[expect(clippy::expect_used, reason = "TEXT is the encoded length of every type")]
    Base64UrlUnpadded::encode(raw, &mut text[start..]).expect("the text holds its value");
    text[..code.len()].copy_from_slice(code.as_bytes());
    text
}

/// Decodes `text` into the value's `RAW` bytes, refusing every text but the one of its value.
pub(super) fn decode<const TEXT: usize, const RAW: usize>(
    code: &'static str,
    lead: usize,
    text: &str,
) -> Result<([u8; TEXT], [u8; RAW]), CesrError> {
    let characters: [u8; TEXT] = text
        .as_bytes()
        .try_into()
        .map_err(|_| CesrError::Length { expected: TEXT, found: text.len() })?;
    if !text.starts_with(code) {
        return Err(CesrError::Code { expected: code });
    }
    let mut encoded = characters;
    let start = if lead == 0 { code.len() } else { 0 };
    if lead > 0 {
        encoded[..code.len()].fill(b'A');
    }
    let mut raw = [0_u8; MAX_RAW];
    let raw =
        Base64UrlUnpadded::decode(&encoded[start..], &mut raw).map_err(|_| CesrError::Base64)?;
    let (zeros, value) = raw.split_at(lead);
    if zeros.iter().any(|&byte| byte != 0) {
        return Err(CesrError::LeadBits);
    }
    let value = value.try_into().map_err(|_| CesrError::Base64)?;
    Ok((characters, value))
}

/// The characters of a text that [`encode`] or [`decode`] returned.
pub(super) fn as_str(text: &[u8]) -> &str {
    #[expect(clippy::expect_used, reason = "only base64 and codes are ever stored")]
    std::str::from_utf8(text).expect("the text is ASCII")
}

/// The bytes inside the longest text, a signature's.
const MAX_RAW: usize = 66;

/// Everything that follows from "the value is its text": access, printing, comparing, serde.
macro_rules! text_type {
    ($name:ident, $expecting:literal) => {
        impl $name {
            /// The one text of this value.
            pub fn as_str(&self) -> &str {
                $crate::cesr::text::as_str(&self.text)
            }

            /// The text as bytes, as it goes into hashes and buffers.
            pub fn as_bytes(&self) -> &[u8] {
                &self.text
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.text == other.text
            }
        }

        impl Eq for $name {}

        impl std::hash::Hash for $name {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.text.hash(state);
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                self.text.cmp(&other.text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = $crate::cesr::CesrError;

            fn try_from(text: &str) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;

                impl serde::de::Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }

                deserializer.deserialize_str(Text)
            }
        }
    };
}

pub(super) use text_type;
