//! An event together with its exact text and a signature, not yet verified.

use super::{Event, EventFault};
use crate::cesr::Signature;
use crate::time::Timestamp;
use std::time::Duration;

/// A parsed event, its exact text and a signature that was not checked yet. Only a
/// [`KeyLog`](crate::KeyLog) turns these into something to rely on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedEvent {
    event: Event,
    text: Box<str>,
    signature: Signature,
}

impl SignedEvent {
    /// Parses an event's exact text and its signature, as they are stored and published.
    pub fn parse(text: &str, signature: &str) -> Result<Self, EventFault> {
        let event = Event::parse(text)?;
        let signature = signature
            .parse()
            .map_err(|source| EventFault::Encoding { member: "signature", source })?;
        Ok(Self { event, text: text.into(), signature })
    }

    /// Puts a signature to an event that was made here.
    pub fn new(event: Event, signature: Signature) -> Self {
        Self { text: event.text().into(), event, signature }
    }

    /// The parsed event.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// The exact text: what was signed, and what is stored and forwarded.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature over the text.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Checks the signature by the key that the event itself reveals. Whether that key is the one
    /// that was committed to is the log's question.
    pub fn check_signature(&self) -> Result<(), EventFault> {
        self.event
            .public_key()
            .verify(self.text.as_bytes(), &self.signature)
            .map_err(|_| EventFault::Signature)
    }

    /// Appends `{"payload":<event>,"signature":"0I…"}`, the published form of one event.
    pub fn write_json(&self, json: &mut String) {
        for part in
            [r#"{"payload":"#, &self.text, r#","signature":""#, self.signature.as_str(), r#""}"#]
        {
            json.push_str(part);
        }
    }

    /// The published form of one event.
    pub fn to_json(&self) -> String {
        let mut json = String::with_capacity(self.text.len() + Signature::LENGTH + 32);
        self.write_json(&mut json);
        json
    }

    pub(crate) fn check_not_future(
        &self,
        now: Timestamp,
        skew: Duration,
    ) -> Result<(), EventFault> {
        let created_at = self.event.created_at();
        if created_at > now.saturating_add(skew) {
            return Err(EventFault::Future { created_at });
        }
        Ok(())
    }
}
