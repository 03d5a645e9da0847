//! Owning the tokens, at a start and while serving: `ownership` does it, here is what comes before and after.

use std::time::{Duration, Instant};

use hsmd_support::chain;

use crate::config::Config;
use crate::daemon::core::{Core, CoreError};
use crate::daemon::start::{LOCK_TIMEOUT, StartError, wait_out_grace};
use crate::daemon::state::{Phase, Shared};
use crate::journal::{Journal, encode};
use crate::keylog::KeylogError;
use crate::ownership::OwnershipError;
use crate::ownership::claim::{Means, take};
use crate::ownership::folder::{Folder, FolderError};
use crate::signer::Signer;

/// How soon to look again whether another process has left the state folder.
const FOLDER_RETRY_DELAY: Duration = Duration::from_millis(20);

/// The state folder, once the process that had it before has ended.
///
/// # Errors
/// [`OwnershipError::Folder`]: another process has it, or its files can't be used.
pub async fn open_folder(config: &Config, shared: &Shared) -> Result<Folder, OwnershipError> {
    let until = Instant::now() + LOCK_TIMEOUT;
    loop {
        match Folder::open(&config.state_dir) {
            Err(error @ FolderError::InUse(_)) if Instant::now() < until => {
                shared.set_phase(Phase::Starting(error.to_string()));
                tokio::time::sleep(FOLDER_RETRY_DELAY).await;
            }
            opened => return Ok(opened?),
        }
    }
}

/// Owns the tokens, by a claim where that is needed: whether one was. Where a token holds no record, a
/// standby waits until the daemon that had the lock before must have stopped; a claim waits for that itself.
///
/// # Errors
/// [`StartError::Ownership`]; [`StartError::Keylog`] while a standby waits.
pub async fn own_tokens(mut means: Means<'_>, shared: &Shared) -> Result<bool, StartError> {
    let phase = |what| shared.set_phase(Phase::Starting(what));
    let taken = take(&mut means, &shared.signer, &phase).await?;
    let Means { config, writer, .. } = means;
    if config.standby && taken.unrecorded {
        phase("waiting until the daemon before us has stopped".into());
        let proved = wait_out_grace(writer, config.lock_grace).await?;
        shared.signer.release_check().renew_lease(proved);
    }
    if config.standby {
        crate::crash_point!("start::waited");
    }
    Ok(taken.claimed)
}

/// Keeps what was merged in our own journal and records, before what it was merged from goes.
///
/// # Errors
/// [`CoreError::Journal`], [`CoreError::Token`], [`CoreError::Stopping`].
pub async fn keep_merged(journal: &mut Journal, signer: &Signer) -> Result<(), CoreError> {
    journal.replace(journal.entries().clone())?;
    for worker in signer.workers() {
        let entries = encode(journal.entries());
        worker.run_once(move |token_state| token_state.keep_own_record_only(&entries)).await??;
    }
    Ok(())
}

/// Claims the tokens again if our record was removed and no other claim stands there.
pub async fn claim_anew_if_lost(core: &mut Core, config: &Config) {
    let Core { writer: Some(writer), folder, journal, signer, .. } = core else { return };
    if !signer.release_check().has_lost_record() {
        return;
    }
    let mut means = Means { config, writer, folder, take_over: false };
    let taken =
        take(&mut means, signer, &|what| tracing::warn!(what, "the token's owner record is gone"))
            .await;
    let done = match taken {
        Ok(_) => keep_merged(journal, signer).await.map_err(|error| chain(&error)),
        Err(error) => Err(chain(&error)),
    };
    if let Err(error) = done {
        tracing::warn!(error, "the token was not claimed anew");
    }
}

/// Whether another daemon has claimed a token of ours with this database, whose lock we have: it is gone, and
/// a fresh start claims the token from it. A claim with another database is a person's business.
pub async fn was_superseded_here(core: &mut Core) -> Result<bool, KeylogError> {
    let Core { writer: Some(writer), folder, signer, .. } = core else { return Ok(false) };
    if !signer.release_check().is_superseded() {
        return Ok(false);
    }
    let newest = writer.claims().await?.into_iter().next();
    Ok(newest.is_some_and(|claim| claim.folder != folder.id()))
}
