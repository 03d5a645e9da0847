//! The generation that signs: its name, and the constant end of every body that it signs.

use hsmd_chain::{
    BatchPayload, Body, BodyTail, Digest, Event, HeadPayload, MerkleTree, Payload, PublicKey,
    Timestamp,
};

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
    pub fn body(&self, document: &Document) -> Body {
        match document {
            Document::Endorsement(payload) => self.tail.endorsement(payload),
            Document::Payload(payload) => self.tail.body(payload),
        }
    }

    /// The body of a batch.
    pub fn batch_body(&self, tree: &MerkleTree) -> Body {
        self.tail.batch(&BatchPayload::of(tree))
    }

    /// The body of the statement that this generation is the head now.
    pub fn head_body(&self, now: Timestamp) -> Body {
        #[expect(clippy::expect_used, reason = "every event's number is in range")]
        let payload = HeadPayload::new(self.sequence_number, now).expect("an event's number");
        self.tail.head(&payload)
    }

    /// A body by which the daemon shows itself that the key still signs. It never leaves the daemon,
    /// and no caller can have the purpose `health`.
    pub fn health_body(&self, now: Timestamp) -> Body {
        let payload = format!(r#"{{"purpose":"health","at":"{now}"}}"#);
        #[expect(clippy::expect_used, reason = "a constant shape around a timestamp")]
        let payload = Payload::parse(payload).expect("a health payload is a payload");
        self.tail.body(&payload)
    }
}
