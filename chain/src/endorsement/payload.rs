//! The payload of an endorsement, written and read in its one form.

use serde::Deserialize;

use crate::cesr::{CesrError, PublicKey};
use crate::time::{Timestamp, TimestampError};

/// The longest purpose, in characters.
pub const MAX_PURPOSE: usize = 64;

/// `{"purpose":…,"publicKey":…,"expiration":…}`: what an endorsement says. Whether the purpose is
/// one that anybody may have is the daemon's policy, not checked here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndorsementPayload {
    purpose: String,
    public_key: PublicKey,
    expiration: Timestamp,
}

/// Why something is no endorsement payload.
#[derive(Debug, thiserror::Error)]
pub enum EndorsementPayloadError {
    /// Not one JSON object with exactly the three members.
    #[error("malformed JSON or missing, unknown or repeated members")]
    Malformed(#[source] serde_json::Error),
    /// The purpose is empty, longer than [`MAX_PURPOSE`], or holds other than visible ASCII
    /// without `"` and `\`.
    #[error("malformed purpose")]
    Purpose,
    /// `publicKey` is no public key.
    #[error("malformed publicKey")]
    PublicKey(#[source] CesrError),
    /// `expiration` is no timestamp.
    #[error("malformed expiration")]
    Expiration(#[source] TimestampError),
    /// The members are right, but not written in the one form.
    #[error("not in canonical form")]
    NotCanonical,
}

impl EndorsementPayload {
    /// Makes the payload. A purpose is 1 to [`MAX_PURPOSE`] visible ASCII characters without `"`
    /// and `\`, so that its text needs no escapes.
    pub fn new(
        purpose: impl Into<String>,
        public_key: PublicKey,
        expiration: Timestamp,
    ) -> Result<Self, EndorsementPayloadError> {
        let purpose = purpose.into();
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        if purpose.is_empty() || purpose.len() > MAX_PURPOSE || !purpose.bytes().all(plain) {
            return Err(EndorsementPayloadError::Purpose);
        }
        Ok(Self { purpose, public_key, expiration })
    }

    /// Reads a payload's exact text; any other text of the same values is refused.
    pub fn parse(text: &str) -> Result<Self, EndorsementPayloadError> {
        let members: Members<'_> =
            serde_json::from_str(text).map_err(EndorsementPayloadError::Malformed)?;
        let public_key = members.public_key.parse().map_err(EndorsementPayloadError::PublicKey)?;
        let expiration = members.expiration.parse().map_err(EndorsementPayloadError::Expiration)?;
        let payload = Self::new(members.purpose, public_key, expiration)?;
        if payload.text() != text {
            return Err(EndorsementPayloadError::NotCanonical);
        }
        Ok(payload)
    }

    /// The one text.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(self.length());
        self.write_into(&mut text);
        text
    }

    /// Appends the text to a buffer.
    pub fn write_into(&self, buffer: &mut String) {
        buffer.push_str(PURPOSE);
        buffer.push_str(&self.purpose);
        buffer.push_str(PUBLIC_KEY);
        buffer.push_str(self.public_key.as_str());
        buffer.push_str(EXPIRATION);
        buffer.extend(self.expiration.to_text().map(char::from));
        buffer.push_str(END);
    }

    /// The length of the text, in bytes.
    pub fn length(&self) -> usize {
        let constant = PURPOSE.len() + PUBLIC_KEY.len() + EXPIRATION.len() + END.len();
        constant + self.purpose.len() + PublicKey::LENGTH + Timestamp::LENGTH
    }

    /// What the key is endorsed for.
    pub fn purpose(&self) -> &str {
        &self.purpose
    }

    /// The endorsed key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The first instant at which the endorsement no longer holds.
    pub fn expiration(&self) -> Timestamp {
        self.expiration
    }
}

const PURPOSE: &str = r#"{"purpose":""#;
const PUBLIC_KEY: &str = r#"","publicKey":""#;
const EXPIRATION: &str = r#"","expiration":""#;
const END: &str = r#""}"#;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Members<'a> {
    purpose: &'a str,
    public_key: &'a str,
    expiration: &'a str,
}
