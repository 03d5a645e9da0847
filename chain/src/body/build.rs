//! Making a body: one allocation of the right size, one copy of the payload.

use crate::batch::BatchPayload;
use crate::cesr::{Digest, PublicKey, SigningInput};
use crate::endorsement::EndorsementPayload;
use crate::head::HeadPayload;
use crate::payload::Payload;

/// The text that goes before every payload.
pub(super) const HEAD: &str = r#"{"payload":"#;

/// What follows the payload in every body of one generation, prepared once a generation:
/// `,"hsm":{"identity":"E…","generationId":"E…"}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyTail {
    identity: Digest,
    generation_id: Digest,
    text: String,
}

/// An unsigned body: the exact text that a generation's key is to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    text: String,
}

impl BodyTail {
    /// Prepares the tail of a generation's bodies.
    pub fn new(identity: Digest, generation_id: Digest) -> Self {
        let text =
            format!(r#","hsm":{{"identity":"{identity}","generationId":"{generation_id}"}}}}"#);
        Self { identity, generation_id, text }
    }

    /// The identity that bodies with this tail name.
    pub fn identity(&self) -> Digest {
        self.identity
    }

    /// The generation that bodies with this tail name.
    pub fn generation_id(&self) -> Digest {
        self.generation_id
    }

    /// The constant text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Makes the body of a payload, copying it once.
    pub fn body(&self, payload: &Payload) -> Body {
        self.around(payload.text().len(), |text| text.push_str(payload.text()))
    }

    /// Makes the body of an endorsement, writing its payload in place.
    pub fn endorsement(&self, payload: &EndorsementPayload) -> Body {
        self.around(payload.length(), |text| payload.write_into(text))
    }

    /// Makes the body of a batch.
    pub fn batch(&self, payload: &BatchPayload) -> Body {
        let payload = payload.text();
        self.around(payload.len(), |text| text.push_str(&payload))
    }

    /// Makes the body of a head statement.
    pub fn head(&self, payload: &HeadPayload) -> Body {
        let payload = payload.text();
        self.around(payload.len(), |text| text.push_str(&payload))
    }

    fn around(&self, length: usize, write: impl FnOnce(&mut String)) -> Body {
        let mut text = String::with_capacity(HEAD.len() + length + self.text.len());
        text.push_str(HEAD);
        write(&mut text);
        text.push_str(&self.text);
        Body { text }
    }
}

impl Body {
    /// The body by which a key that no event commits to yet is tried: its generation is the digest of
    /// the key's own text, its identity 44 `#` before there is one. No reader accepts it.
    pub fn of_uncommitted_key(
        identity: Option<Digest>,
        key: &PublicKey,
        payload: &Payload,
    ) -> Self {
        let identity = identity.map_or_else(|| "#".repeat(44), |identity| identity.to_string());
        let (payload, key) = (payload.text(), key.digest());
        let text = format!(
            r#"{HEAD}{payload},"hsm":{{"identity":"{identity}","generationId":"{key}"}}}}"#
        );
        Self { text }
    }

    /// The exact text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the text, for the token.
    pub fn signing_input(&self) -> SigningInput {
        SigningInput::of(&self.text)
    }

    /// Gives the text away, without a copy.
    pub fn into_text(self) -> String {
        self.text
    }

    /// Gives the text away as bytes, without a copy.
    pub fn into_bytes(self) -> Vec<u8> {
        self.text.into_bytes()
    }
}
