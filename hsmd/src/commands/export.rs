//! `hsmd export`: the verified log, as published.

use super::CommandError;
use crate::clock::Clock;
use crate::config::Config;
use crate::daemon::core::verify_rows;
use crate::keylog::Reader;
use crate::observe::telemetry::print;

/// Writes the log to standard output: the published JSON array, no newline after it.
///
/// # Errors
/// [`CommandError::Keylog`]; [`CommandError::Core`] if the log does not verify; [`CommandError::Refused`]
/// if it is empty.
pub async fn export(config: &Config) -> Result<(), CommandError> {
    let rows = Reader::connect(&config.database).await?.read(0).await?;
    let clock = Clock::start();
    match verify_rows(&rows, config.identity.as_ref(), &clock, config.clock_skew)? {
        Some(log) => print(&log.to_json()).map_err(CommandError::Output),
        None => Err(CommandError::Refused("the key log is empty: run `hsmd init`".into())),
    }
}
