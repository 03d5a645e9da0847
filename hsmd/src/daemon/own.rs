//! Owning the tokens, at a start and while serving: `ownership` does it, here is what comes before and after.

use std::time::{Duration, Instant};

use hsmd_support::chain;

use crate::config::Config;
use crate::daemon::core::{Core, CoreError};
use crate::daemon::start::{LOCK_TIMEOUT, StartError, wait_out_grace};
use crate::daemon::state::{Phase, Shared};
use crate::journal::{Journal, encode};
use crate::keylog::{KeylogError, Writer};
use crate::ownership::OwnershipError;
use crate::ownership::claim_log::{ClaimLog, Left};
use crate::ownership::folder::{Folder, FolderError};
use crate::ownership::take::{Means, take};
use crate::signer::{Signer, TokenState};
use crate::token::TokenError;

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

/// Owns the tokens, by claims where these are needed: the places of those that were claimed are added to
/// `claimed`. Where a token holds no record, a standby waits until the daemon that had the lock before must
/// have stopped; a claim waits for that itself.
///
/// # Errors
/// [`StartError::Ownership`]; [`StartError::Keylog`] while a standby waits.
pub async fn own_tokens(
    config: &Config,
    shared: &Shared,
    writer: &mut Writer,
    folder: &mut Folder,
    take_over: bool,
    claimed: &mut Vec<usize>,
) -> Result<(), StartError> {
    let phase = |what| shared.set_phase(Phase::Starting(what));
    let database = ClaimLog::at_start(writer);
    let mut means = Means { config, database, folder, take_over };
    let taken = take(&mut means, &shared.signer, &phase).await?;
    claimed.retain(|token| !taken.claimed.contains(token));
    claimed.extend(taken.claimed);
    if config.standby && taken.unrecorded {
        phase("waiting until the daemon before us has stopped".into());
        let proved = wait_out_grace(writer, config.lock_grace).await?;
        shared.signer.release_check().renew_lease(proved);
    }
    if config.standby {
        crate::crash_point!("start::waited");
    }
    Ok(())
}

/// Keeps what was merged in our own journal and records, before what it was merged from goes.
///
/// # Errors
/// [`CoreError::Journal`], [`CoreError::Token`], [`CoreError::Stopping`].
pub async fn keep_merged(journal: &mut Journal, signer: &Signer) -> Result<(), CoreError> {
    let kept = journal.replace(journal.entries().clone());
    for worker in signer.workers() {
        let entries = encode(journal.entries());
        let is_kept = kept.is_ok();
        // A full disk does not keep the journal from the token, where the token takes it.
        worker
            .run_once(move |token_state| match is_kept {
                true => token_state.keep_own_record_only(&entries),
                false => match token_state.write_journal(&entries) {
                    Err(TokenError::NoCopy(_)) => Ok(()),
                    written => written,
                },
            })
            .await??;
    }
    Ok(kept?)
}

/// Whether a token of ours holds what is still to be merged: a start that died behind its claim has left it.
///
/// # Errors
/// [`CoreError::Token`], [`CoreError::Stopping`].
pub async fn holds_others(signer: &Signer) -> Result<bool, CoreError> {
    for worker in signer.workers() {
        if worker.run_once(TokenState::holds_others).await?? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Claims the tokens again if our record was removed and no other claim stands there, with the database or
/// without. A taint that has arrived waits for it, since without a record the token is not ours; what the claim
/// asks of the database gives way to it. In a standby pair the lock is needed: the other daemon may claim.
pub async fn claim_anew_if_lost(core: &mut Core, config: &Config) {
    let Core { writer, folder, journal, signer, taints, .. } = core;
    if !signer.release_check().has_lost_record() {
        return;
    }
    let database = ClaimLog::while_serving(writer.as_mut(), taints, config.standby);
    let mut means = Means { config, database, folder, take_over: false };
    let taken =
        take(&mut means, signer, &|what| tracing::warn!(what, "the token's owner record is gone"))
            .await;
    let Left { was_given_up, unnoted } = means.database.left();
    match taken {
        Ok(_) => {
            let merged = match keep_merged(journal, signer).await {
                Ok(()) => means.folder.note_merged().map_err(|error| chain(&error)),
                Err(error) => Err(chain(&error)),
            };
            if let Err(error) = merged {
                tracing::warn!(error, "the journal is not kept everywhere");
            }
        }
        Err(error) => tracing::warn!(error = chain(&error), "the token was not claimed anew"),
    }
    core.unnoted.extend(unnoted);
    if was_given_up {
        core.disconnect();
    }
}

/// Notes in the database the claims that were made while it was away.
///
/// # Errors
/// The server.
pub async fn note_claims(core: &mut Core) -> Result<(), KeylogError> {
    let Some(writer) = &mut core.writer else { return Ok(()) };
    while let Some(claim) = core.unnoted.first() {
        writer.note_claim(claim).await?;
        core.unnoted.remove(0);
    }
    Ok(())
}

/// Whether another daemon has claimed a token of ours with this database, whose lock we have: it is gone, and
/// a fresh start claims the token from it. A claim with another database is a person's business.
///
/// # Errors
/// The server.
pub async fn was_superseded_here(core: &mut Core) -> Result<bool, KeylogError> {
    let Core { writer: Some(writer), folder, signer, .. } = core else { return Ok(false) };
    if !signer.release_check().is_superseded() {
        return Ok(false);
    }
    let newest = writer.claims().await?.into_iter().next();
    Ok(newest.is_some_and(|claim| claim.folder != folder.id()))
}
