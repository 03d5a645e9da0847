//! The published form of a log: a compact JSON array of events with their signatures.

use serde::Deserialize;
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
    /// The first malformed event. An empty array is no error here.
    pub fn parse_json(json: &[u8]) -> Result<Vec<SignedEvent>, LogError> {
        let (events, malformed) = parse(json)?;
        malformed.map_or(Ok(events), Err)
    }
}

/// What stands around an event's text in the published form, its comma included.
const OVERHEAD: usize = r#"{"payload":,"signature":""},"#.len() + Signature::LENGTH;

/// Parses a published log up to its first malformed element: the events before it, and the error.
pub(super) fn parse(json: &[u8]) -> Result<(Vec<SignedEvent>, Option<LogError>), LogError> {
    let elements: Vec<&RawValue> = serde_json::from_slice(json).map_err(LogError::Malformed)?;
    let (events, malformed) = try_map(&elements, |element| element_event(element));
    let position = events.len();
    let malformed = malformed.map(|error| match error {
        Malformed::Element(source) => LogError::Element { position, source },
        Malformed::Event(source) => LogError::Event { position, source },
    });
    Ok((events, malformed))
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
