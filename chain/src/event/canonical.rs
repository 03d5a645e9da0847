//! The canonical text of an event: writing it, reading it, and the id that follows from it.

use serde::Deserialize;

use super::{Event, EventFault, MAX_SEQUENCE_NUMBER, PURPOSE};
use crate::cesr::{CesrError, Digest, PublicKey};
use crate::time::Timestamp;

/// Stands for the id (and in event 0 the prefix) while the id is computed.
const PLACEHOLDER: &str = "############################################";

/// What an event says before it has an id. The prefix is `None` in event 0, whose id it is.
pub(super) struct Fields {
    pub(super) prefix: Option<Digest>,
    pub(super) sequence_number: u32,
    pub(super) previous: Option<Digest>,
    pub(super) created_at: Timestamp,
    pub(super) taint_previous: bool,
    pub(super) public_key: PublicKey,
    pub(super) rotation_hash: Digest,
}

impl Fields {
    pub(super) fn id(&self) -> Digest {
        let prefix = self.prefix.as_ref().map_or(PLACEHOLDER, Digest::as_str);
        Digest::of(self.write(PLACEHOLDER, prefix).as_bytes())
    }

    pub(super) fn text(&self, id: &Digest) -> String {
        self.write(id.as_str(), self.prefix.as_ref().unwrap_or(id).as_str())
    }

    fn write(&self, id: &str, prefix: &str) -> String {
        let mut text = String::with_capacity(TEXT_CAPACITY);
        let number = self.sequence_number.to_string();
        let created_at = self.created_at.to_string();
        for part in [r#"{"id":""#, id, r#"","prefix":""#, prefix, r#"","sequenceNumber":"#, &number]
        {
            text.push_str(part);
        }
        if let Some(previous) = &self.previous {
            text.push_str(r#","previous":""#);
            text.push_str(previous.as_str());
            text.push('"');
        }
        text.push_str(r#","createdAt":""#);
        text.push_str(&created_at);
        text.push('"');
        if self.taint_previous {
            text.push_str(r#","taintPrevious":true"#);
        }
        for part in [
            r#","purpose":""#,
            PURPOSE,
            r#"","publicKey":""#,
            self.public_key.as_str(),
            r#"","rotationHash":""#,
            self.rotation_hash.as_str(),
            r#""}"#,
        ] {
            text.push_str(part);
        }
        text
    }
}

/// The longest event's text, a tainting one with an eight-digit number, fits without growing.
const TEXT_CAPACITY: usize = 432;

/// The members as they stand, borrowed: an escape in a string refuses to borrow, and none is
/// canonical.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Members<'a> {
    id: &'a str,
    prefix: &'a str,
    sequence_number: u32,
    previous: Option<&'a str>,
    created_at: &'a str,
    taint_previous: Option<bool>,
    purpose: &'a str,
    public_key: &'a str,
    rotation_hash: &'a str,
}

pub(super) fn parse(text: &str) -> Result<Event, EventFault> {
    let members: Members<'_> = serde_json::from_str(text).map_err(EventFault::Malformed)?;
    if members.purpose != PURPOSE {
        return Err(EventFault::Purpose);
    }
    if members.sequence_number > MAX_SEQUENCE_NUMBER {
        return Err(EventFault::SequenceNumberTooLarge);
    }
    let inception = members.sequence_number == 0;
    if inception && (members.previous.is_some() || members.taint_previous.is_some()) {
        return Err(EventFault::InceptionMembers);
    }
    if !inception && members.previous.is_none() {
        return Err(EventFault::PreviousMissing);
    }
    let id = digest("id", members.id)?;
    let prefix = digest("prefix", members.prefix)?;
    let fields = Fields {
        prefix: (!inception).then_some(prefix),
        sequence_number: members.sequence_number,
        previous: members.previous.map(|text| digest("previous", text)).transpose()?,
        created_at: members.created_at.parse().map_err(EventFault::CreatedAt)?,
        taint_previous: members.taint_previous == Some(true),
        public_key: members.public_key.parse().map_err(encoding("publicKey"))?,
        rotation_hash: digest("rotationHash", members.rotation_hash)?,
    };
    if fields.write(members.id, members.prefix) != text {
        return Err(EventFault::NotCanonical);
    }
    if inception && prefix != id {
        return Err(EventFault::InceptionPrefix);
    }
    if fields.id() != id {
        return Err(EventFault::Id);
    }
    let event = Event::from_fields(fields, id);
    event.check_commitment()?;
    Ok(event)
}

fn digest(member: &'static str, text: &str) -> Result<Digest, EventFault> {
    text.parse().map_err(encoding(member))
}

fn encoding(member: &'static str) -> impl FnOnce(CesrError) -> EventFault {
    move |source| EventFault::Encoding { member, source }
}
