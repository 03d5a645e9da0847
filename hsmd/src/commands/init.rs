//! `hsmd init`: a new identity. The intent first, then keys 0 and 1, then event 0; killed after any
//! step, the next `init` finishes with the same identity or, if none had been signed, makes one.

use std::sync::Arc;

use hsmd_chain::{Event, SignedEvent, Timestamp};

use super::{
    CommandError, inventories, local_caller, locked_writer, prepare_state_dir, signer, stop_signer,
};
use crate::clock::Clock;
use crate::config::Config;
use crate::daemon::core::{CoreError, verify_rows};
use crate::journal::{Entries, Journal, JournaledEvent};
use crate::keylog::{AdminAction, AdminRecord, Writer};
use crate::observe::metrics::Metrics;
use crate::observe::telemetry::print;
use crate::ownership::OwnershipError;
use crate::ownership::claim_log::ClaimLog;
use crate::ownership::folder::Folder;
use crate::ownership::take::{Means, take};
use crate::signer::TokenWorker;
use crate::startup::{Known, Verdict, decide};
use crate::token::{Modules, keys};

/// Makes the identity and prints it. When there is one already, prints that and changes nothing.
///
/// # Errors
/// [`CommandError::Refused`] if something is there that `init` must not overwrite; else
/// [`CommandError::Keylog`], [`CommandError::Token`] or another component's error.
pub async fn init(config: &Config) -> Result<(), CommandError> {
    prepare_state_dir(config)?;
    let clock = Clock::start();
    let modules = Arc::new(Modules::default());
    let signer = signer(config, None, &clock, &modules, &Metrics::default())?;
    let made = make(config, &clock, &signer).await;
    stop_signer(&signer, &modules);
    let event = made?;
    print(&format!("{}\n", event.event().prefix())).map_err(CommandError::Output)
}

async fn make(
    config: &Config,
    clock: &Clock,
    signer: &crate::signer::Signer,
) -> Result<SignedEvent, CommandError> {
    let mut writer = locked_writer(config).await?;
    let rows = writer.read(0).await?;
    let log = verify_rows(&rows, config.identity.as_ref(), clock, config.clock_skew)?;
    let intent = Journal::intent(&config.state_dir)?;
    if let Some(log) = log {
        let first = SignedEvent::clone(&log.events()[0]);
        if let Some(intent) = intent {
            finish(config, intent, &first)?;
        }
        tracing::info!(identity = %log.identity(), "there is an identity already");
        return Ok(first);
    }
    if let Some(anchor) = &config.identity {
        return Err(CommandError::Refused(format!(
            "the configuration names the identity {}, but the key log is empty: import a copy with \
             `hsmd import FILE`, or remove `identity` to make a new one",
            anchor.identity()
        )));
    }
    let known = Known { init_intent: intent.is_some(), begun: None };
    match decide(None, &inventories(signer).await?, known) {
        Verdict::Blank | Verdict::InitInterrupted => {}
        refused => return Err(CommandError::Refused(refused.advice().into())),
    }

    let mut folder = Folder::open(&config.state_dir).map_err(OwnershipError::from)?;
    let database = ClaimLog::at_start(&mut writer);
    let mut means = Means { config, database, folder: &mut folder, take_over: false };
    take(&mut means, signer, &|what| tracing::info!(what, "init")).await?;
    let made = make_owned(config, clock, signer, &mut writer, intent).await;
    // The daemon that serves claims the token; none waits for us.
    for worker in signer.workers() {
        worker.run_once(|token_state| token_state.release_ownership()).await??;
    }
    made
}

/// Makes the identity on tokens that are ours.
async fn make_owned(
    config: &Config,
    clock: &Clock,
    signer: &crate::signer::Signer,
    writer: &mut Writer,
    intent: Option<Journal>,
) -> Result<SignedEvent, CommandError> {
    let mut intent = match intent {
        Some(intent) => intent,
        None => Journal::note_intent(&config.state_dir)?,
    };
    crate::crash_point!("init::intent");
    // A new identity starts where new keys are made.
    let Some(worker) = signer.workers().last() else {
        return Err(CommandError::Refused("no token is configured".into()));
    };
    let event = match &intent.entries().event {
        Some(journaled) => {
            journaled.parse().map_err(|message| CoreError::Row { position: 0, message })?
        }
        None => {
            let event = sign_first(worker, clock, writer).await?;
            let journaled = JournaledEvent::new(&event, Some(record(&event)));
            intent.replace(Entries::default().with(journaled, 0, 0))?;
            crate::crash_point!("init::journaled");
            event
        }
    };
    writer.append(std::slice::from_ref(&event), &record(&event)).await?;
    crate::crash_point!("init::committed");
    finish(config, intent, &event)?;
    Ok(event)
}

/// Makes or adopts keys 0 and 1 and signs event 0.
async fn sign_first(
    worker: &TokenWorker,
    clock: &Clock,
    writer: &mut Writer,
) -> Result<SignedEvent, CommandError> {
    let first = worker.run(|token_state| token_state.find_or_generate(0)).await??;
    crate::crash_point!("init::key-0");
    let second = worker.run(|token_state| token_state.find_or_generate(1)).await??;
    if second == first {
        return Err(CoreError::KnownKey(1).into());
    }
    crate::crash_point!("init::key-1");
    let long_ago = Timestamp::from_unix_millis(0).map_err(|_| refused_clock())?;
    let database_clock = writer.prove_lock().await?;
    let created_at = clock.stamp(long_ago, database_clock).map_err(CoreError::from)?;
    let event = Event::inception(first, second.digest(), created_at);
    let signed =
        worker.run(move |token_state| token_state.sign_event(event, &keys::id(0))).await??;
    crate::crash_point!("init::signed");
    Ok(signed)
}

/// The identity is in the log: its own journal takes over from the intent.
fn finish(config: &Config, intent: Journal, first: &SignedEvent) -> Result<(), CommandError> {
    let mut journal = Journal::open(&config.state_dir, &first.event().prefix())?;
    if journal.entries() == &Entries::default() {
        let event = Some(JournaledEvent::new(first, None));
        journal.replace(Entries { event, ..Entries::default() })?;
    }
    crate::crash_point!("init::journal");
    intent.discard()?;
    crate::crash_point!("init::done");
    Ok(())
}

fn record(event: &SignedEvent) -> AdminRecord {
    AdminRecord {
        at: event.event().created_at(),
        action: AdminAction::Init,
        caller: local_caller(),
        reason: "hsmd init".into(),
        request_id: String::new(),
        file_digest: None,
    }
}

fn refused_clock() -> CommandError {
    CommandError::Refused("the clock does not show a usable time".into())
}
