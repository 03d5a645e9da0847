//! The payload of a head statement, written and read in its one form.

use serde::Deserialize;

use crate::event::MAX_SEQUENCE_NUMBER;
use crate::time::{Timestamp, TimestampError};

/// The purpose of a head statement, reserved for it.
pub const PURPOSE: &str = "head";

/// `{"purpose":"head","sequenceNumber":n,"issuedAt":…}`: event n was the head at this instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadPayload {
    sequence_number: u32,
    issued_at: Timestamp,
}

/// Why a payload is not that of a head statement.
#[derive(Debug, thiserror::Error)]
pub enum HeadPayloadError {
    /// Not one JSON object with exactly the three members.
    #[error("malformed JSON or missing, unknown or repeated members")]
    Malformed(#[source] serde_json::Error),
    /// The purpose is not `head`.
    #[error("the purpose is not head")]
    Purpose,
    /// The number has more than eight digits.
    #[error("the sequence number exceeds 99999999")]
    SequenceNumber,
    /// `issuedAt` is no timestamp.
    #[error("malformed issuedAt")]
    IssuedAt(#[source] TimestampError),
    /// The members are right, but not written in the one form.
    #[error("not in canonical form")]
    NotCanonical,
}

impl HeadPayload {
    /// Makes the payload. The number is that of an event, so it has at most eight digits.
    pub fn new(sequence_number: u32, issued_at: Timestamp) -> Result<Self, HeadPayloadError> {
        if sequence_number > MAX_SEQUENCE_NUMBER {
            return Err(HeadPayloadError::SequenceNumber);
        }
        Ok(Self { sequence_number, issued_at })
    }

    /// Reads a payload's exact text; any other text of the same values is refused.
    pub fn parse(text: &str) -> Result<Self, HeadPayloadError> {
        let members: Members<'_> =
            serde_json::from_str(text).map_err(HeadPayloadError::Malformed)?;
        if members.purpose != PURPOSE {
            return Err(HeadPayloadError::Purpose);
        }
        let issued_at = members.issued_at.parse().map_err(HeadPayloadError::IssuedAt)?;
        let payload = Self::new(members.sequence_number, issued_at)?;
        if payload.text() != text {
            return Err(HeadPayloadError::NotCanonical);
        }
        Ok(payload)
    }

    /// The one text.
    pub fn text(&self) -> String {
        let Self { sequence_number, issued_at } = self;
        format!(
            r#"{{"purpose":"{PURPOSE}","sequenceNumber":{sequence_number},"issuedAt":"{issued_at}"}}"#
        )
    }

    /// The sequence number of the head.
    pub fn sequence_number(&self) -> u32 {
        self.sequence_number
    }

    /// When the statement was made.
    pub fn issued_at(&self) -> Timestamp {
        self.issued_at
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Members<'a> {
    purpose: &'a str,
    sequence_number: u32,
    issued_at: &'a str,
}
