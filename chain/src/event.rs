//! One entry of the key log: its fields, its one text, and the rules that bind it to the entry
//! before it (docs/formats.md §2).

mod canonical;
mod fault;
mod signed;

pub use fault::EventFault;
pub use signed::SignedEvent;

use crate::cesr::{Digest, PublicKey, SigningInput};
use crate::time::Timestamp;

/// The purpose that every event carries, reserved for events.
pub const PURPOSE: &str = "key-authorization";

/// The largest sequence number: eight decimal digits.
pub const MAX_SEQUENCE_NUMBER: u32 = 99_999_999;

/// One entry of the key log, self-consistent: its id is the digest of its text and event 0 carries
/// its id as prefix. It says nothing about signatures or the entries around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    id: Digest,
    prefix: Digest,
    sequence_number: u32,
    previous: Option<Digest>,
    created_at: Timestamp,
    taint_previous: bool,
    public_key: PublicKey,
    rotation_hash: Digest,
}

impl Event {
    /// Makes event 0 of a new identity. `rotation_hash` is the digest of the next generation's
    /// public key, which must exist by now.
    pub fn inception(public_key: PublicKey, rotation_hash: Digest, created_at: Timestamp) -> Self {
        let fields = canonical::Fields {
            prefix: None,
            sequence_number: 0,
            previous: None,
            created_at,
            taint_previous: false,
            public_key,
            rotation_hash,
        };
        let id = fields.id();
        Self::from_fields(fields, id)
    }

    /// Makes the event after `head`, revealing the key that `head` committed to. Everything that a
    /// reader will check of it, short of the signature and of "not in the future", is checked here.
    pub fn successor(
        head: &Event,
        public_key: PublicKey,
        rotation_hash: Digest,
        created_at: Timestamp,
        taint_previous: bool,
    ) -> Result<Self, EventFault> {
        if head.sequence_number >= MAX_SEQUENCE_NUMBER {
            return Err(EventFault::SequenceNumberTooLarge);
        }
        let fields = canonical::Fields {
            prefix: Some(head.prefix),
            sequence_number: head.sequence_number + 1,
            previous: Some(head.id),
            created_at,
            taint_previous,
            public_key,
            rotation_hash,
        };
        let id = fields.id();
        let event = Self::from_fields(fields, id);
        event.check_follows(head)?;
        Ok(event)
    }

    /// Parses an event's exact text. Refuses every text but the canonical one of its values, a
    /// wrong id, another purpose, and what event 0 alone must or must not have.
    pub fn parse(text: &str) -> Result<Self, EventFault> {
        canonical::parse(text)
    }

    /// The event's canonical text: what is hashed, signed, stored and forwarded.
    pub fn text(&self) -> String {
        self.fields().text(&self.id)
    }

    /// SHA-256 of the text, for the token.
    pub fn signing_input(&self) -> SigningInput {
        SigningInput::of(&self.text())
    }

    /// Checks that the event commits to another key than its own.
    pub(crate) fn check_commitment(&self) -> Result<(), EventFault> {
        if self.rotation_hash == self.public_key.digest() {
            return Err(EventFault::CommitsToOwnKey);
        }
        Ok(())
    }

    /// Checks the rules between an event and its predecessor: number, prefix, `previous`, the key
    /// against the commitment, and time. Reports the first that is broken, in this order. That no
    /// earlier event revealed the key is the log's question.
    pub fn check_follows(&self, head: &Event) -> Result<(), EventFault> {
        self.check_commitment()?;
        let expected = head.sequence_number + 1;
        if self.sequence_number != expected {
            return Err(EventFault::OutOfOrder { expected, found: self.sequence_number });
        }
        if self.prefix != head.prefix {
            return Err(EventFault::Prefix { expected: head.prefix, found: self.prefix });
        }
        if self.previous != Some(head.id) {
            return Err(EventFault::Previous { expected: head.id });
        }
        if self.public_key.digest() != head.rotation_hash {
            return Err(EventFault::NotCommitted);
        }
        if self.created_at <= head.created_at {
            return Err(EventFault::NotLater { previous: head.created_at, found: self.created_at });
        }
        Ok(())
    }

    /// The digest that names this event and the generation it reveals.
    pub fn id(&self) -> Digest {
        self.id
    }

    /// The identity: the id of event 0.
    pub fn prefix(&self) -> Digest {
        self.prefix
    }

    /// The position in the log, from 0.
    pub fn sequence_number(&self) -> u32 {
        self.sequence_number
    }

    /// The id of the event before; `None` in event 0 only.
    pub fn previous(&self) -> Option<Digest> {
        self.previous
    }

    /// When the event was made, by the daemon's clock.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// Whether the generation before this one is dead at once.
    pub fn taint_previous(&self) -> bool {
        self.taint_previous
    }

    /// The key of this generation, which signs the event itself.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The digest of the next generation's public key text.
    pub fn rotation_hash(&self) -> Digest {
        self.rotation_hash
    }

    fn fields(&self) -> canonical::Fields {
        canonical::Fields {
            prefix: (self.sequence_number > 0).then_some(self.prefix),
            sequence_number: self.sequence_number,
            previous: self.previous,
            created_at: self.created_at,
            taint_previous: self.taint_previous,
            public_key: self.public_key,
            rotation_hash: self.rotation_hash,
        }
    }

    fn from_fields(fields: canonical::Fields, id: Digest) -> Self {
        Self {
            id,
            prefix: fields.prefix.unwrap_or(id),
            sequence_number: fields.sequence_number,
            previous: fields.previous,
            created_at: fields.created_at,
            taint_previous: fields.taint_previous,
            public_key: fields.public_key,
            rotation_hash: fields.rotation_hash,
        }
    }
}
