//! `hsmd clear-branch`: the way out of two histories, once a person knows which one goes on. What this
//! host's journal and log and the token's records hold of the other branch is cleared; a database that
//! holds it is append-only and is left behind.

use std::path::Path;
use std::sync::Arc;

use hsmd_chain::{Digest, KeyLog, SignedEvent};

use super::check::owner::owner;
use super::{CommandError, inventories, locked_writer, prepare_state_dir, signer, stop_signer};
use crate::clock::Clock;
use crate::config::Config;
use crate::daemon::core::{CoreError, parse_rows};
use crate::journal::{Entries, Journal, JournaledEvent, LogFile, decode, encode};
use crate::keylog::Writer;
use crate::observe::metrics::Metrics;
use crate::observe::telemetry::say;
use crate::ownership::OwnershipError;
use crate::ownership::folder::Folder;
use crate::signer::Signer;
use crate::startup::{self, Verdict, decide};
use crate::token::Modules;

/// What a person has confirmed.
pub struct Confirmed {
    /// The first event to be cleared, by its id; empty where none is named yet.
    pub discard: String,
    /// The daemon of another state folder that owns the token is stopped for good.
    pub take_over_token: bool,
}

/// Clears what contradicts the log in `file`, whose first event must be the one that was named.
///
/// # Errors
/// [`CommandError::Copy`] if the log does not verify; [`CommandError::Refused`] if the token does not go
/// on from it, another event is named, the database itself holds the other branch, or another daemon may be
/// using the token; [`CommandError::Ownership`] if one uses the state folder; else what can't be read or
/// written.
pub async fn clear_branch(
    config: &Config,
    file: &Path,
    confirmed: &Confirmed,
) -> Result<(), CommandError> {
    let anchor = config
        .identity
        .as_ref()
        .ok_or_else(|| CommandError::Refused("set `identity` in the configuration first".into()))?;
    prepare_state_dir(config)?;
    let bytes = std::fs::read(file)
        .map_err(|source| CommandError::ReadFile { path: file.into(), source })?;
    let json = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let clock = Clock::start();
    let now = clock.now().map_err(CoreError::from)?;
    let keep =
        KeyLog::verify_json(json, anchor, now, config.clock_skew).map_err(CommandError::Copy)?;
    // Nothing serves or imports meanwhile, with this database or from this folder.
    let mut writer = locked_writer(config).await?;
    let mut folder = Folder::open(&config.state_dir).map_err(OwnershipError::from)?;
    for path in config.token.iter().filter_map(|token| token.lock_file.as_deref()) {
        folder.lock_too(path).map_err(OwnershipError::from)?;
    }
    let rows = parse_rows(&writer.read(0).await?)?;
    if let Some(event) = first_contradiction(&keep, &rows) {
        return Err(CommandError::Refused(format!(
            "the database holds event {} of the other branch: its tables are append-only and stay as \
             evidence; configure another database.schema, run `hsmd migrate`, and try again",
            event.event().id()
        )));
    }
    let modules = Arc::new(Modules::default());
    let signer = signer(config, None, &clock, &modules, &Metrics::default())?;
    // In a standby pair nothing on the token is changed without a proof of the lock.
    signer.release_check().renew_lease(std::time::Instant::now());
    let cleared = clear(config, &signer, &keep, &mut writer, confirmed).await;
    stop_signer(&signer, &modules);
    writer.close().await;
    drop(folder);
    cleared
}

async fn clear(
    config: &Config,
    signer: &Signer,
    keep: &KeyLog,
    writer: &mut Writer,
    confirmed: &Confirmed,
) -> Result<(), CommandError> {
    let found = inventories(signer).await?;
    let identity = keep.identity();
    // A journal that can't be merged with a copy is what this command is for: each is looked at alone.
    let mut journal = Journal::open(&config.state_dir, &identity)?;
    let (_, mut others) = LogFile::open(&config.state_dir, &identity)?;
    others.extend(journaled(journal.entries()));
    let mut begun = journal.entries().begun;
    for worker in signer.workers() {
        for copy in worker.run(|token_state| token_state.read_journal()).await?? {
            let entries = decode(&copy).map_err(|message| {
                CommandError::Refused(format!("a copy of the journal on the token: {message}"))
            })?;
            begun = begun.max(entries.begun);
            others.extend(journaled(&entries));
        }
    }
    let Some(first) = first_contradiction(keep, &others) else {
        say("hsmd: nothing to clear: journal, log and token contradict nothing of this log");
        return Ok(());
    };
    if others.iter().any(|event| event.event().previous() == Some(keep.head().event().id())) {
        return Err(CommandError::Refused(
            "this host or its token knows an event that follows the log's head: give `hsmctl reconcile` \
             a log that has it, too"
                .into(),
        ));
    }
    let id: Digest = first.event().id();
    if id.as_str() != confirmed.discard {
        return Err(CommandError::Refused(format!(
            "this host and its token hold event {id} of number {} where the log has another: to clear \
             it and what follows it, repeat with --discard {id}",
            first.event().sequence_number()
        )));
    }
    let known = startup::Known { init_intent: false, begun };
    match decide(Some(keep.head().event()), &found, known) {
        Verdict::Serve(_) | Verdict::OneEventOld(_) => {}
        refused => {
            let advice = format!("the token does not go on from this log: {}", refused.advice());
            return Err(CommandError::Refused(advice));
        }
    }
    // A daemon with another database changes its record at any time, and this would replace the change. One
    // that starts from here on waits for its claim before it changes anything.
    if !confirmed.take_over_token
        && let Some(reason) = owner(config, writer, signer).await?
    {
        return Err(CommandError::Refused(format!(
            "nothing is cleared beside another daemon, whose record may hold events that are nowhere else: \
             stop it and repeat, or, if it is dead or lost for good, repeat with --take-over-token ({reason})"
        )));
    }
    let event = Some(JournaledEvent::new(keep.head(), None));
    let entries = Entries { begun, event, ..Entries::default() };
    for worker in signer.workers() {
        let copy = encode(&entries);
        worker.run(move |token_state| token_state.replace_journals(&copy)).await??;
    }
    LogFile::replace(&config.state_dir, keep)?;
    journal.replace(entries)?;
    say(&format!("hsmd: cleared event {id} and what follows it; the head is {}", keep.position()));
    Ok(())
}

fn journaled(entries: &Entries) -> Vec<SignedEvent> {
    entries.events().filter_map(|event| event.parse().ok()).collect()
}

/// The first event, by number, that stands where the log has another.
fn first_contradiction(keep: &KeyLog, events: &[SignedEvent]) -> Option<SignedEvent> {
    let contradicts = |event: &&SignedEvent| {
        let ours = keep.event(event.event().sequence_number());
        ours.is_some_and(|ours| ours.text() != event.text())
    };
    let contradicting = events.iter().filter(contradicts);
    contradicting.min_by_key(|event| event.event().sequence_number()).cloned()
}
