//! What this host knows of the key log beyond the rows of the table: the log in `state_dir`, and the
//! journal. A database that has lost events (a failover, an older backup, a lost schema) heals with it.

use hsmd_chain::{KeyLog, SignedEvent};

use crate::config::Config;
use crate::daemon::core::CoreError;
use crate::journal::LogFile;

/// The rows, and what this host's own copy has beyond them.
#[derive(Debug)]
pub struct Known {
    /// Verified.
    pub log: KeyLog,
    /// How many of its events are rows.
    pub stored: usize,
    /// The copy.
    pub file: LogFile,
}

impl Known {
    /// Reads the host's own copy. An empty table has an identity only if the configuration names it; none
    /// where the copy has nothing either.
    ///
    /// # Errors
    /// [`CoreError::Journal`] if the copy can't be read, [`CoreError::Diverged`] if it contradicts the
    /// rows, [`CoreError::Log`] if it does not verify.
    pub fn of(config: &Config, rows: Option<KeyLog>) -> Result<Option<Self>, CoreError> {
        let configured = config.identity.as_ref().map(|anchor| anchor.identity());
        let Some(identity) = rows.as_ref().map(KeyLog::identity).or(configured) else {
            return Ok(None);
        };
        let (file, events) = LogFile::open(&config.state_dir, &identity)?;
        let stored = rows.as_ref().map_or(0, |log| log.events().len());
        let log = match rows {
            Some(rows) => Some(extended(rows, events)?),
            None => verified(config, events)?,
        };
        Ok(log.map(|log| Self { log, stored, file }))
    }

    /// As far as `state_dir` knows, without a database.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn without_database(config: &Config) -> Result<Option<Self>, CoreError> {
        let configured = config.identity.as_ref().map(|anchor| anchor.identity());
        let identity = configured.or_else(|| LogFile::only_identity(&config.state_dir));
        let Some(identity) = identity else { return Ok(None) };
        let (file, events) = LogFile::open(&config.state_dir, &identity)?;
        let log = verified(config, events)?;
        Ok(log.map(|log| Self { stored: log.events().len(), log, file }))
    }
}

/// A log with the events that a copy has beyond it. They were verified once: the clock says nothing.
fn extended(mut log: KeyLog, copy: Vec<SignedEvent>) -> Result<KeyLog, CoreError> {
    for event in copy {
        let number = event.event().sequence_number();
        match log.event(number) {
            Some(ours) if ours.text() == event.text() => continue,
            Some(_) => return Err(CoreError::Contested(number)),
            None => {}
        }
        let now = event.event().created_at();
        log.extend(event, now, std::time::Duration::ZERO)
            .map_err(|source| CoreError::JournalEvent { number, source })?;
    }
    Ok(log)
}

fn verified(config: &Config, copy: Vec<SignedEvent>) -> Result<Option<KeyLog>, CoreError> {
    let Some((first, last)) = copy.first().zip(copy.last()) else { return Ok(None) };
    let own = hsmd_chain::Anchor::new(first.event().prefix());
    let (anchor, now) = (config.identity.as_ref().unwrap_or(&own), last.event().created_at());
    Ok(Some(KeyLog::verify(copy.clone(), anchor, now, std::time::Duration::ZERO)?))
}
