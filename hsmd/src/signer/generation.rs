//! The generation that signs: its name, and the constant end of every body that it signs.

use hsmd_chain::{Body, BodyTail, Digest, Event, Payload, PublicKey, Timestamp};

use super::Document;

/// One generation of the HSM key, as the event that reveals it names it.
#[derive(Debug)]
pub struct Generation {
    sequence_number: u32,
    public_key: PublicKey,
    tail: BodyTail,
}

impl Generation {
    /// The generation that an event reveals.
    pub fn of(event: &Event) -> Self {
        Self {
            sequence_number: event.sequence_number(),
            public_key: *event.public_key(),
            tail: BodyTail::new(event.prefix(), event.id()),
        }
    }

    /// The HSM's identity.
    pub fn identity(&self) -> Digest {
        self.tail.identity()
    }

    /// The id of the event.
    pub fn id(&self) -> Digest {
        self.tail.generation_id()
    }

    /// The number of the event.
    pub fn sequence_number(&self) -> u32 {
        self.sequence_number
    }

    /// The public key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The body of a document under this generation.
    pub(super) fn body(&self, document: &Document) -> Body {
        match document {
            Document::Endorsement(payload) => self.tail.endorsement(payload),
            Document::Payload(payload) => self.tail.body(payload),
        }
    }

    /// A body by which the daemon shows itself that the key still signs. It never leaves the daemon,
    /// and no caller can have the purpose `health`.
    pub(super) fn health_body(&self, now: Timestamp) -> Body {
        let payload = format!(r#"{{"purpose":"health","at":"{now}"}}"#);
        #[expect(clippy::expect_used, reason = "a constant shape around a timestamp")]
        let payload = Payload::parse(payload).expect("a health payload is a payload");
        self.tail.body(&payload)
    }
}
