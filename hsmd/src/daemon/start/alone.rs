//! A start that waits for the database: who owned the token before it may taint, with what `state_dir` and the
//! token have. Nothing is signed or rotated, and nothing else appended, before the start goes on; it then
//! finds the event in journal and record.

use std::sync::Arc;

use hsmd_support::chain;
use tokio::sync::watch;

use super::table::{check_remembered, inventories};
use super::{StartError, read_journal};
use crate::config::Config;
use crate::daemon::core::append_pending::pending;
use crate::daemon::core::{Core, CoreError};
use crate::daemon::known::Known;
use crate::daemon::state::Shared;
use crate::ownership::OwnershipError;
use crate::ownership::folder::Folder;
use crate::ownership::take::resume;
use crate::startup::{self, Verdict, decide};

/// Lets taints be made from now on, if the token is this daemon's without a claim and the startup table
/// would let it serve.
pub async fn offer(config: &Config, shared: &Shared) {
    let mut offered = shared.core.lock().await;
    if offered.is_some() {
        return;
    }
    match core(config, shared).await {
        Ok(core) => *offered = core,
        Err(error) => {
            tracing::debug!(error = chain(&error), "no taint before the database is back")
        }
    }
    if offered.is_some() {
        tracing::info!("the database is away: taints are made without it");
    }
}

/// Waits for a taint that is being made; none is made any more before the daemon serves.
pub async fn end(shared: &Shared) {
    drop(shared.core.lock().await.take());
}

async fn core(config: &Config, shared: &Shared) -> Result<Option<Core>, StartError> {
    // One that has never owned a token does not even log in to it.
    if Folder::id_of(&config.state_dir).map_err(OwnershipError::from)?.is_none() {
        return Ok(None);
    }
    let Some(Known { log, file, .. }) = Known::without_database(config)? else { return Ok(None) };
    let mut folder = Folder::open(&config.state_dir).map_err(OwnershipError::from)?;
    if config.standby && folder.highest_epoch() == 0 {
        return Ok(None);
    }
    if !resume(&mut folder, &shared.signer).await? {
        return Ok(None);
    }
    let journal = read_journal(config, &shared.signer, &log).await?;
    let mut longer = log;
    pending(journal.entries(), &mut longer)?;
    if let Some(anchor) = &config.identity {
        check_remembered(&longer, anchor).map_err(CoreError::from)?;
    }
    let known = startup::Known { init_intent: false, begun: journal.entries().begun };
    let head = Some(longer.head().event());
    let Verdict::Serve(plan) = decide(head, &inventories(&shared.signer).await?, known) else {
        return Ok(None);
    };
    // Each event that the journal holds may be one that the database lacks.
    let stored = journal.entries().first_number().map_or(longer.events().len(), |n| n as usize);
    Ok(Some(Core::new(
        config,
        None,
        journal,
        file,
        longer,
        stored,
        plan,
        Arc::clone(&shared.signer),
        shared.log.clone(),
        // What is pending is not known before the rows are read.
        watch::Sender::default(),
        shared.clock.clone(),
        shared.taints.clone(),
        folder,
    )))
}
