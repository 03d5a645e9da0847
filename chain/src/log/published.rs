//! The published form of a log: a compact JSON array of events with their signatures.

use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{KeyLog, LogError, parallel::try_map};
use crate::cesr::Signature;
use crate::event::{EventFault, SignedEvent};
use crate::json::from_object;

impl KeyLog {
    /// The published form: `[{"payload":<event>,"signature":"0I…"},…]`, compact, no newline.
    pub fn to_json(&self) -> String {
        let length: usize = self.events().iter().map(|event| event.text().len() + OVERHEAD).sum();
        let mut json = String::with_capacity(length + 2);
        json.push('[');
        for (position, event) in self.events().iter().enumerate() {
            if position > 0 {
                json.push(',');
            }
            event.write_json(&mut json);
        }
        json.push(']');
        json
    }

    /// Parses a published log without verifying it, for [`catch_up`](Self::catch_up) and for tools
    /// that show what does not verify.
    ///
    /// # Errors
    /// [`LogError::Malformed`] if it is no array; else [`LogError::Element`] or [`LogError::Event`] for
    /// the first malformed event. An empty array is no error here.
    pub fn parse_json(json: &[u8]) -> Result<Vec<SignedEvent>, LogError> {
        let (events, malformed) = parse(json)?;
        malformed.map_or(Ok(events), Err)
    }
}

/// What stands around an event's text in the published form, its comma included.
const OVERHEAD: usize = r#"{"payload":,"signature":""},"#.len() + Signature::LENGTH;

/// Parses a published log up to its first malformed element: the events before it, and the error.
pub(super) fn parse(json: &[u8]) -> Result<(Vec<SignedEvent>, Option<LogError>), LogError> {
    let Elements(elements) = serde_json::from_slice(json).map_err(LogError::Malformed)?;
    let (events, malformed) = try_map(&elements, |element| element_event(element));
    let position = events.len();
    let malformed = malformed.map(|error| match error {
        Malformed::Element(source) => LogError::Element { position, source },
        Malformed::Event(source) => LogError::Event { position, source },
    });
    Ok((events, malformed))
}

/// The elements of an array up to the first that is too short for an event: millions of zeros take no more
/// memory than their text.
struct Elements<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ElementsVisitor)
    }
}

struct ElementsVisitor;

impl<'de> Visitor<'de> for ElementsVisitor {
    type Value = Elements<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Elements<'de>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element::<&RawValue>()? {
            elements.push(element);
            if element.get().len() < OVERHEAD {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
            }
        }
        Ok(Elements(elements))
    }
}

enum Malformed {
    Element(serde_json::Error),
    Event(EventFault),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Element<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
    signature: &'a str,
}

fn element_event(element: &RawValue) -> Result<SignedEvent, Malformed> {
    let element: Element<'_> = from_object(element.get()).map_err(Malformed::Element)?;
    SignedEvent::parse(element.payload.get(), element.signature).map_err(Malformed::Event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn millions_of_short_elements_are_not_kept() {
        let json = format!("[{}0]", "0,".repeat(1_000_000));
        let Elements(elements) = serde_json::from_str(&json).unwrap();
        assert_eq!(elements.len(), 1);
        let (events, malformed) = parse(json.as_bytes()).unwrap();
        assert!(events.is_empty());
        assert!(matches!(malformed, Some(LogError::Element { position: 0, .. })));
        assert!(matches!(parse(b"[0,0,]"), Err(LogError::Malformed(_))), "the rest is JSON, too");
    }
}
