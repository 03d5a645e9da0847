//! `hsmd import`: what a copy of the log has and ours lacks. Only ever appends.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hsmd_chain::{Anchor, Digest, KeyLog, SignedEvent};

use super::{
    CommandError, inventories, local_caller, locked_writer, prepare_state_dir, signer, stop_signer,
};
use crate::clock::Clock;
use crate::config::Config;
use crate::daemon::core::append_pending::pending;
use crate::daemon::core::{CoreError, parse_rows, verify_rows};
use crate::daemon::known::Known;
use crate::daemon::start::read_journal;
use crate::journal::{Entries, Journal, JournaledEvent};
use crate::keylog::{AdminAction, AdminRecord};
use crate::observe::metrics::Metrics;
use crate::observe::telemetry::say;
use crate::startup::{self, Verdict, decide};
use crate::token::Modules;

const SHOW_PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Verifies a copy against the expected identity, our log, the journal and the token, then appends.
///
/// # Errors
/// [`CommandError::Copy`], [`CommandError::CopyDiverges`] or [`CommandError::Refused`] for the copy;
/// [`CommandError::Keylog`] or [`CommandError::Token`] for what can't be reached. Then nothing has
/// changed.
pub async fn import(config: &Config, file: &Path, without_token: bool) -> Result<(), CommandError> {
    let anchor = config.identity.as_ref().ok_or_else(|| {
        CommandError::Refused(
            "set `identity` in the configuration first: a copy is only as good as the identity that \
             it is checked against"
                .into(),
        )
    })?;
    prepare_state_dir(config)?;
    let bytes = std::fs::read(file)
        .map_err(|source| CommandError::ReadFile { path: file.into(), source })?;
    // The convention is no newline, but an editor or a pipe may add one.
    let json = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let clock = Clock::start();
    let now = clock.now().map_err(CoreError::from)?;
    let part = later_part(json);
    let whole = match &part {
        Some(_) => None,
        None => Some(
            KeyLog::verify_json(json, anchor, now, config.clock_skew)
                .map_err(CommandError::Copy)?,
        ),
    };
    let mut writer = locked_writer(config).await?;
    let rows = writer.read(0).await?;
    let copy = match whole {
        Some(copy) => copy,
        None => {
            let events = with_what_precedes(part.unwrap_or_default(), parse_rows(&rows)?);
            KeyLog::verify(events, anchor, now, config.clock_skew).map_err(CommandError::Copy)?
        }
    };
    let own = Anchor::new(anchor.identity());
    let ours = verify_rows(&rows, Some(&own), &clock, config.clock_skew)?;
    let stored = ours.as_ref().map_or(0, |log| log.events().len());
    if let Some(mut ours) = ours {
        ours.catch_up(
            copy.events().iter().map(|event| SignedEvent::clone(event)),
            now,
            config.clock_skew,
        )
        .map_err(CommandError::CopyDiverges)?;
    }
    let mut journal = Journal::open(&config.state_dir, &copy.identity())?;
    // Refuses a copy that is older than the journal, or contradicts it or the log in state_dir.
    let mut with_journal = copy.clone();
    pending(journal.entries(), &mut with_journal)?;
    Known::of(config, Some(copy.clone()))?;
    if without_token {
        say("hsmd: importing WITHOUT comparing the copy with the token: you vouch for it");
    } else {
        compare_with_token(config, &clock, &with_journal).await?;
    }
    let new: Vec<SignedEvent> =
        copy.events()[stored..].iter().map(|event| SignedEvent::clone(event)).collect();
    if new.is_empty() {
        say("hsmd: nothing to import: the log has every event of the copy");
        return Ok(());
    }
    let record = AdminRecord {
        at: now,
        action: AdminAction::Import,
        caller: local_caller(),
        reason: format!("import of {} events", new.len()),
        request_id: String::new(),
        file_digest: Some(Digest::of(&bytes)),
    };
    let mut shown = Instant::now();
    let progress = |done| {
        if std::io::stderr().is_terminal() && shown.elapsed() >= SHOW_PROGRESS_EVERY {
            say(&format!("hsmd: {done} of {} events", new.len()));
            shown = Instant::now();
        }
    };
    writer.append_with(&new, &record, progress).await?;
    writer.confirm().await?;
    if journal.entries().event.is_none() {
        let event = Some(JournaledEvent::new(copy.head(), None));
        journal.replace(Entries { event, ..journal.entries().clone() })?;
    }
    say(&format!("hsmd: imported {} events; the head is {}", new.len(), copy.position()));
    Ok(())
}

/// The events of a file that begins after event 0, as `hsmctl taint` writes it.
fn later_part(json: &[u8]) -> Option<Vec<SignedEvent>> {
    let events = KeyLog::parse_json(json).ok()?;
    events.first().is_some_and(|first| first.event().sequence_number() > 0).then_some(events)
}

/// These events and, before them, the database's.
fn with_what_precedes(part: Vec<SignedEvent>, rows: Vec<SignedEvent>) -> Vec<SignedEvent> {
    let first = part.first().map_or(0, |event| event.event().sequence_number() as usize);
    rows.into_iter().take(first).chain(part).collect()
}

/// Refuses a log that the token is ahead of, or that is another token's. The records on the token hold the
/// journals of all folders that used it.
async fn compare_with_token(
    config: &Config,
    clock: &Clock,
    log: &KeyLog,
) -> Result<(), CommandError> {
    let modules = Arc::new(Modules::default());
    let signer = signer(config, None, clock, &modules, &Metrics::default())?;
    let found = inventories(&signer).await;
    let journal = read_journal(config, &signer, log).await;
    stop_signer(&signer, &modules);
    let (found, journal) = (found?, journal?);
    let mut log = log.clone();
    pending(journal.entries(), &mut log)?;
    let known = startup::Known { init_intent: false, begun: journal.entries().begun };
    match decide(Some(log.head().event()), &found, known) {
        Verdict::Serve(_) => Ok(()),
        refused => Err(CommandError::Refused(format!("with the copy, {}", refused.advice()))),
    }
}
