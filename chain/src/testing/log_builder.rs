//! A builder of valid logs and of what their keys sign.

use std::sync::Arc;
use std::time::Duration;

use super::SoftwareKey;
use crate::anchor::Anchor;
use crate::batch::{BatchPayload, BatchedSignature, MerkleTree, SignedBatch};
use crate::body::{BodyTail, SignedBody};
use crate::cesr::{Digest, PublicKey};
use crate::endorsement::EndorsementPayload;
use crate::event::{Event, SignedEvent};
use crate::head::{HeadPayload, HeadStatement};
use crate::log::KeyLog;
use crate::payload::Payload;
use crate::time::Timestamp;

/// A log under construction, with the private keys of all its generations and of the next. Event 0
/// is made at 2026-01-01T00:00:00.000Z and each further one an hour later unless told otherwise.
#[derive(Clone)]
pub struct LogBuilder {
    seed: String,
    events: Vec<SignedEvent>,
    /// Indexed by generation; what lies beyond the head is committed to or planned.
    keys: Vec<SoftwareKey>,
}

impl LogBuilder {
    /// Begins a log with event 0; the seed determines the identity.
    pub fn new(seed: &str) -> Self {
        let keys: Vec<_> = (0..2).map(|number| key(seed, number)).collect();
        let start = super::at("2026-01-01T00:00:00.000Z");
        let event = Event::inception(*keys[0].public_key(), keys[1].digest(), start);
        let signature = keys[0].sign(event.text().as_bytes());
        Self { seed: seed.to_owned(), events: vec![SignedEvent::new(event, signature)], keys }
    }

    /// A log of `length` events.
    pub fn of_length(seed: &str, length: usize) -> Self {
        (1..length).fold(Self::new(seed), |log, _| log.rotate())
    }

    /// Appends a rotation, an hour after the head.
    #[must_use]
    pub fn rotate(self) -> Self {
        let created_at = self.next_hour();
        self.append(created_at, false)
    }

    /// Appends a taint of the head, an hour after it.
    #[must_use]
    pub fn taint(self) -> Self {
        let created_at = self.next_hour();
        self.append(created_at, true)
    }

    /// Appends an event made at a given time.
    #[must_use]
    pub fn append(mut self, created_at: Timestamp, taint: bool) -> Self {
        let number = self.events.len();
        if self.keys.len() < number + 2 {
            self.keys.push(key(&self.seed, number + 1));
        }
        let (now, next) = (&self.keys[number], &self.keys[number + 1]);
        let head = self.head().event();
        let event = Event::successor(head, *now.public_key(), next.digest(), created_at, taint)
            .expect("the event follows the head");
        let signature = now.sign(event.text().as_bytes());
        self.events.push(SignedEvent::new(event, signature));
        self
    }

    /// The log up to before event `number`, with the same keys from there on: what is appended
    /// commits to the same next key, as after an accident.
    #[must_use]
    pub fn rewound_to(&self, number: usize) -> Self {
        Self { events: self.events[..number].to_vec(), ..self.clone() }
    }

    /// The log up to before event `number`, with other keys after that: what is appended commits
    /// to a different next key, as a thief of key `number` would.
    #[must_use]
    pub fn stolen_at(&self, number: usize, seed: &str) -> Self {
        Self {
            seed: seed.to_owned(),
            events: self.events[..number].to_vec(),
            keys: self.keys[..=number].to_vec(),
        }
    }

    /// All events, valid and in order.
    pub fn events(&self) -> &[SignedEvent] {
        &self.events
    }

    /// The newest event.
    pub fn head(&self) -> &SignedEvent {
        &self.events[self.events.len() - 1]
    }

    /// The identity.
    pub fn identity(&self) -> Digest {
        self.events[0].event().id()
    }

    /// The identity alone, as an anchor.
    pub fn anchor(&self) -> Anchor {
        Anchor::new(self.identity())
    }

    /// The id of a generation.
    pub fn id(&self, number: usize) -> Digest {
        self.events[number].event().id()
    }

    /// The key pair of a generation, which may be the one after the head.
    pub fn key(&self, number: usize) -> &SoftwareKey {
        &self.keys[number]
    }

    /// The verified log.
    pub fn log(&self) -> KeyLog {
        let now = self.head().event().created_at();
        KeyLog::verify(self.events.clone(), &self.anchor(), now, Duration::ZERO)
            .expect("the builder makes valid logs")
    }

    /// The published form.
    pub fn to_json(&self) -> String {
        self.log().to_json()
    }

    /// Signs any payload with a generation's key.
    pub fn sign(&self, number: usize, payload: &str) -> SignedBody {
        let tail = BodyTail::new(self.identity(), self.id(number));
        let body = tail.body(&Payload::parse(payload).expect("a payload"));
        let signature = self.keys[number].sign(body.text().as_bytes());
        SignedBody::new(body, &tail, signature)
    }

    /// Signs payloads as one batch with a generation's key.
    pub fn batch(&self, number: usize, payloads: &[String]) -> Vec<BatchedSignature> {
        let tree = MerkleTree::new(payloads.iter().map(String::as_str)).expect("a batch's size");
        let tail = BodyTail::new(self.identity(), self.id(number));
        let body = tail.batch(&BatchPayload::of(&tree));
        let signature = self.keys[number].sign(body.text().as_bytes());
        let signed = SignedBatch::new(SignedBody::new(body, &tail, signature)).expect("a batch");
        let signed = Arc::new(signed);
        let item = |(index, payload): (u32, &String)| {
            let path = tree.path(index).expect("a leaf");
            let path: Vec<&str> = path.iter().map(Digest::as_str).collect();
            BatchedSignature::from_parts(payload.as_str(), index, &path, Arc::clone(&signed))
                .expect("a payload")
        };
        (0..).zip(payloads).map(item).collect()
    }

    /// Endorses a key with a generation's key.
    pub fn endorse(
        &self,
        number: usize,
        purpose: &str,
        public_key: &PublicKey,
        expiration: Timestamp,
    ) -> SignedBody {
        let payload = EndorsementPayload::new(purpose, *public_key, expiration).expect("a purpose");
        self.sign(number, &payload.text())
    }

    /// Has the head's key say that its event is the head.
    pub fn head_statement(&self, issued_at: Timestamp) -> HeadStatement {
        let number = self.head().event().sequence_number();
        let payload = HeadPayload::new(number, issued_at).expect("a number of the log");
        let signed = self.sign(self.events.len() - 1, &payload.text());
        HeadStatement::new(signed).expect("a head statement")
    }

    fn next_hour(&self) -> Timestamp {
        self.head().event().created_at().saturating_add(Duration::from_secs(3600))
    }
}

fn key(seed: &str, number: usize) -> SoftwareKey {
    SoftwareKey::from_seed(&format!("{seed}/{number}"))
}
