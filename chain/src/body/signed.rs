//! A body with a signature, parsed but not verified.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::build::{Body, BodyTail, HEAD};
use crate::cesr::{CesrError, Digest, Signature};
use crate::json::from_object;
use crate::payload::{self, PayloadError};

/// A body and a signature that was not checked yet. It is well formed: exactly the members of
/// docs/formats.md §3 in their order, around a payload that keeps the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBody {
    text: String,
    payload: Range<usize>,
    identity: Digest,
    generation_id: Digest,
    signature: Signature,
}

/// Why a text is no signed body.
#[derive(Debug, thiserror::Error)]
pub enum BodyFormError {
    /// The bytes are not UTF-8.
    #[error("not UTF-8")]
    NotUtf8(#[source] std::str::Utf8Error),
    /// Not `{"body":…,"signature":…}`.
    #[error("not an object of exactly body and signature")]
    Wrapper(#[source] serde_json::Error),
    /// The body is not JSON, or has missing, unknown or repeated members.
    #[error("the body is malformed JSON or has missing, unknown or repeated members")]
    Malformed(#[source] serde_json::Error),
    /// A digest or the signature is malformed.
    #[error("the member {member} is malformed")]
    Encoding {
        /// The member's name.
        member: &'static str,
        /// What is wrong with its text.
        #[source]
        source: CesrError,
    },
    /// The payload breaks a rule.
    #[error("the payload breaks a rule")]
    Payload(#[source] PayloadError),
    /// The members are right, but the text is not the one of their values.
    #[error("the body is not in canonical form")]
    NotCanonical,
}

impl SignedBody {
    /// Parses the published form, `{"body":<body>,"signature":"0I…"}`. Blanks around the members
    /// of this outer object are tolerated, since nothing there is signed.
    pub fn parse(json: impl AsRef<[u8]>) -> Result<Self, BodyFormError> {
        let json = std::str::from_utf8(json.as_ref()).map_err(BodyFormError::NotUtf8)?;
        let wrapper: Wrapper<'_> = from_object(json).map_err(BodyFormError::Wrapper)?;
        Self::from_parts(wrapper.body.get(), wrapper.signature)
    }

    /// Takes a body's exact text and its signature, as gRPC carries them.
    pub fn from_parts(text: impl Into<String>, signature: &str) -> Result<Self, BodyFormError> {
        let text = text.into();
        let members: Members<'_> = serde_json::from_str(&text).map_err(BodyFormError::Malformed)?;
        let identity = digest("identity", members.hsm.identity)?;
        let generation_id = digest("generationId", members.hsm.generation_id)?;
        let payload = members.payload.get();
        payload::check(payload).map_err(BodyFormError::Payload)?;
        let tail = BodyTail::new(identity, generation_id);
        let canonical = text.strip_prefix(HEAD).and_then(|rest| rest.strip_suffix(tail.text()));
        if canonical != Some(payload) {
            return Err(BodyFormError::NotCanonical);
        }
        let payload = HEAD.len()..HEAD.len() + payload.len();
        let signature = signature
            .parse()
            .map_err(|source| BodyFormError::Encoding { member: "signature", source })?;
        Ok(Self { text, payload, identity, generation_id, signature })
    }

    /// Puts a signature to a body that was made here.
    pub fn new(body: Body, tail: &BodyTail, signature: Signature) -> Self {
        let text = body.into_text();
        let payload = HEAD.len()..text.len() - tail.text().len();
        let (identity, generation_id) = (tail.identity(), tail.generation_id());
        Self { text, payload, identity, generation_id, signature }
    }

    /// The exact text: what was signed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The payload's exact text.
    pub fn payload(&self) -> &str {
        &self.text[self.payload.clone()]
    }

    /// The identity that the body names.
    pub fn identity(&self) -> Digest {
        self.identity
    }

    /// The generation that the body names as its signer.
    pub fn generation_id(&self) -> Digest {
        self.generation_id
    }

    /// The signature over the text.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The published form, compact.
    pub fn to_json(&self) -> String {
        format!(r#"{{"body":{},"signature":"{}"}}"#, self.text, self.signature)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapper<'a> {
    #[serde(borrow)]
    body: &'a RawValue,
    signature: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
    hsm: Hsm<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Hsm<'a> {
    identity: &'a str,
    generation_id: &'a str,
}

fn digest(member: &'static str, text: &str) -> Result<Digest, BodyFormError> {
    text.parse().map_err(|source| BodyFormError::Encoding { member, source })
}
