//! Hostile events: any members with any values, hashed and signed as a thief of the key could.

use super::SoftwareKey;
use crate::cesr::{Digest, Signature};
use crate::event::Event;

const PLACEHOLDER: &str = "############################################";

/// The members of an event as raw JSON, free to be changed. [`sealed`](Self::sealed) gives the text
/// its right id again, so that only the rule under test can refuse it.
#[derive(Debug, Clone)]
pub struct Draft {
    members: Vec<(String, String)>,
    /// The id that the text had when it was last right.
    id: String,
}

impl Draft {
    /// The members of a valid event.
    pub fn of(event: &Event) -> Self {
        let quoted = |text: &str| format!("\"{text}\"");
        let mut members = vec![
            ("id", quoted(event.id().as_str())),
            ("prefix", quoted(event.prefix().as_str())),
            ("sequenceNumber", event.sequence_number().to_string()),
        ];
        if let Some(previous) = event.previous() {
            members.push(("previous", quoted(previous.as_str())));
        }
        members.push(("createdAt", quoted(&event.created_at().to_string())));
        if event.taint_previous() {
            members.push(("taintPrevious", "true".to_owned()));
        }
        members.push(("purpose", quoted(crate::event::PURPOSE)));
        members.push(("publicKey", quoted(event.public_key().as_str())));
        members.push(("rotationHash", quoted(event.rotation_hash().as_str())));
        let members = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { members, id: event.id().to_string() }
    }

    /// Sets a member to raw JSON, in place; a new member goes before `before`.
    #[must_use]
    pub fn set(mut self, name: &str, json: &str, before: &str) -> Self {
        match self.position(name) {
            Some(at) => json.clone_into(&mut self.members[at].1),
            None => {
                let at = self.position(before).expect("a member of the event");
                self.members.insert(at, (name.to_owned(), json.to_owned()));
            }
        }
        self
    }

    /// Repeats a member, with its value, at the end.
    #[must_use]
    pub fn repeat(mut self, name: &str) -> Self {
        let at = self.position(name).expect("a member of the event");
        self.members.push(self.members[at].clone());
        self
    }

    /// Takes a member away.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.members.retain(|(member, _)| member != name);
        self
    }

    /// Swaps a member with the one after it.
    #[must_use]
    pub fn swapped(mut self, name: &str) -> Self {
        let at = self.position(name).expect("a member of the event");
        self.members.swap(at, at + 1);
        self
    }

    /// The raw JSON of a member.
    pub fn member(&self, name: &str) -> &str {
        &self.members[self.position(name).expect("a member of the event")].1
    }

    /// Gives the draft the id of its text wherever its old one stands in `id` and `prefix`.
    #[must_use]
    pub fn sealed(self) -> Self {
        let id = Digest::of(self.clone().named(PLACEHOLDER).text().as_bytes());
        self.named(id.as_str())
    }

    /// The text, compact.
    pub fn text(&self) -> String {
        let members: Vec<_> =
            self.members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    }

    /// The text with the signature of a key over it.
    pub fn signed(&self, key: &SoftwareKey) -> (String, Signature) {
        let text = self.text();
        let signature = key.sign(text.as_bytes());
        (text, signature)
    }

    fn named(mut self, id: &str) -> Self {
        for (name, value) in &mut self.members {
            if name == "id" || name == "prefix" {
                *value = value.replace(&self.id, id);
            }
        }
        id.clone_into(&mut self.id);
        self
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.members.iter().position(|(member, _)| member == name)
    }
}

/// The published form of texts that need not be events.
pub fn published<'a>(events: impl IntoIterator<Item = (&'a str, &'a Signature)>) -> String {
    let elements: Vec<_> = events
        .into_iter()
        .map(|(text, signature)| format!(r#"{{"payload":{text},"signature":"{signature}"}}"#))
        .collect();
    format!("[{}]", elements.join(","))
}
