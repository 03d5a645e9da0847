//! From the rows of the table to a verified log.

use std::time::Duration;

use hsmd_chain::{Anchor, KeyLog, SignedEvent};
use hsmd_support::chain;

use super::CoreError;
use crate::clock::Clock;
use crate::keylog::Row;

/// Parses and verifies the rows of the table.
///
/// # Errors
/// What is wrong with them.
pub fn verify_rows(
    rows: &[Row],
    anchor: Option<&Anchor>,
    clock: &Clock,
    skew: Duration,
) -> Result<Option<KeyLog>, CoreError> {
    let events = parse_rows(rows)?;
    let Some(first) = events.first() else { return Ok(None) };
    let own = Anchor::new(first.event().prefix());
    let log = KeyLog::verify(events, anchor.unwrap_or(&own), clock.now()?, skew)?;
    Ok(Some(log))
}

/// Parses the rows of the table, without verifying them.
///
/// # Errors
/// A row is not an event.
pub fn parse_rows(rows: &[Row]) -> Result<Vec<SignedEvent>, CoreError> {
    rows.iter()
        .enumerate()
        .map(|(position, row)| {
            SignedEvent::parse(&row.text, &row.signature)
                .map_err(|error| CoreError::Row { position, message: chain(&error) })
        })
        .collect()
}
