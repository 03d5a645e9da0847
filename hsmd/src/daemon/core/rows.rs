//! From the rows of the table to a verified log.

use std::sync::Arc;
use std::time::Duration;

use hsmd_chain::{Anchor, KeyLog, SignedEvent};
use hsmd_support::chain;

use super::{Core, CoreError};
use crate::clock::Clock;
use crate::keylog::Row;

/// What rows are to the log that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Our first events, so many of them; the table may have lost some.
    Stored(usize),
    /// All of ours and more.
    Longer,
}

impl Core {
    /// Compares rows with a log of ours. An empty table may be another identity's, unless the configuration
    /// names ours.
    ///
    /// # Errors
    /// [`CoreError::Diverged`] if they are not the log's events, [`CoreError::Clock`].
    pub fn find(&self, log: &KeyLog, rows: Vec<SignedEvent>) -> Result<Found, CoreError> {
        let is_ours = |(row, ours): &(&SignedEvent, &Arc<SignedEvent>)| *row == &***ours;
        let ours = rows.iter().zip(log.events()).take_while(is_ours).count();
        if ours == rows.len() && (ours > 0 || self.identity_is_configured) {
            return Ok(Found::Stored(ours));
        }
        let now = self.clock.now()?;
        match log.clone().catch_up(rows, now, self.skew).map_err(CoreError::Diverged)? {
            0 => Ok(Found::Stored(log.events().len())),
            _ => Ok(Found::Longer),
        }
    }
}

/// Parses and verifies the rows of the table.
///
/// # Errors
/// [`CoreError::Row`], [`CoreError::Log`], [`CoreError::Clock`].
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
/// [`CoreError::Row`].
pub fn parse_rows(rows: &[Row]) -> Result<Vec<SignedEvent>, CoreError> {
    rows.iter()
        .enumerate()
        .map(|(position, row)| {
            SignedEvent::parse(&row.text, &row.signature)
                .map_err(|error| CoreError::Row { position, message: chain(&error) })
        })
        .collect()
}
