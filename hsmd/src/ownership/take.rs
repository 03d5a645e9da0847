//! Owning all tokens of the configuration, or none; `claim` does it for one.

use std::time::{Duration, Instant};

use hsmd_support::chain;

use super::OwnershipError;
use super::claim::{Claimant, Owned, Plan, hold, run, token_key};
use super::claim_log::ClaimLog;
use super::folder::{Folder, FolderError};
use super::rules::{Decision, Facts, decide, own};
use crate::config::Config;
use crate::signer::{Signer, TokenState, TokenWorker};

/// How long to wait for the process that had a token's lock file to end.
const LOCK_FILE_TIMEOUT: Duration = Duration::from_secs(3);
const LOCK_FILE_RETRY_DELAY: Duration = Duration::from_millis(20);

/// What became of it, over all tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// The tokens that were claimed, by their place: what other folders left on them is to be merged.
    pub claimed: Vec<usize>,
    /// A token holds no records: there only the writer lock keeps another daemon out.
    pub unrecorded: bool,
}

/// What a claim needs besides the tokens.
pub struct Means<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The database.
    pub database: ClaimLog<'a>,
    /// The state folder.
    pub folder: &'a mut Folder,
    /// A person has said that the token is to be taken over.
    pub take_over: bool,
}

/// Whether [`take`] would claim a token.
///
/// # Errors
/// As [`take`].
pub async fn is_needed(means: &mut Means<'_>, signer: &Signer) -> Result<bool, OwnershipError> {
    let mut is_needed = false;
    for worker in signer.workers() {
        lock_file(means.folder, worker).await?;
    }
    for worker in signer.workers() {
        let plan = Claimant { means: &mut *means, worker, signer }.plan().await?;
        is_needed |= matches!(plan, Plan::Claim(..));
    }
    Ok(is_needed)
}

/// Owns every token, in the order of the configuration, or says why not and owns none.
///
/// # Errors
/// [`OwnershipError::Owned`] or [`OwnershipError::NoRecord`] for another owner,
/// [`OwnershipError::NeedsLockFile`]; else [`OwnershipError::Folder`], [`OwnershipError::Keylog`],
/// [`OwnershipError::Core`].
pub async fn take(
    means: &mut Means<'_>,
    signer: &Signer,
    phase: &(dyn Fn(String) + Sync),
) -> Result<Holding, OwnershipError> {
    let workers = signer.workers();
    for worker in workers {
        lock_file(means.folder, worker).await?;
    }
    let mut taken = Holding::default();
    let all = async {
        // Nothing is claimed before it is known that all may be.
        for worker in workers {
            Claimant { means: &mut *means, worker, signer }.plan().await?;
        }
        for (index, worker) in workers.iter().enumerate() {
            let mut claimant = Claimant { means: &mut *means, worker, signer };
            match claimant.take(phase).await? {
                Owned::Without => taken.unrecorded |= worker.config().lock_file.is_none(),
                Owned::As { claimed: true } => taken.claimed.push(index),
                Owned::As { claimed: false } => {}
            }
        }
        Ok(())
    };
    let done: Result<(), OwnershipError> = all.await;
    match done {
        Ok(()) => Ok(taken),
        Err(error) => {
            withdraw(signer, &taken.claimed).await;
            Err(error)
        }
    }
}

/// Takes the claims of these tokens back, before anything was done under them: the owner of before goes on.
pub async fn withdraw(signer: &Signer, claimed: &[usize]) {
    for index in claimed {
        if let Err(error) = run(&signer.workers()[*index], TokenState::withdraw_claim).await {
            tracing::warn!(error = chain(&error), "a claim was not taken back");
        }
    }
}

/// Goes on with every token without a claim and without the database; whether this daemon owns them all.
///
/// # Errors
/// The folder or a token.
pub async fn resume(folder: &mut Folder, signer: &Signer) -> Result<bool, OwnershipError> {
    for worker in signer.workers() {
        lock_file(folder, worker).await?;
    }
    let mut ours = Vec::new();
    for worker in signer.workers().iter().filter(|worker| worker.config().lock_file.is_none()) {
        let asked = Instant::now();
        let records = run(worker, TokenState::records).await?;
        let key = token_key(worker).await?;
        let facts = Facts {
            folder: folder.id(),
            epoch: folder.epoch(&key),
            highest: folder.highest_epoch(),
            records: &records,
            named: &[],
            take_over: false,
        };
        match (decide(facts), own(&records, folder.id())) {
            (Decision::Resume, Some(own)) => ours.push((worker, own.clone(), asked)),
            _ => return Ok(false),
        }
    }
    for (worker, record, looked) in ours {
        hold(worker, record, looked).await?;
    }
    Ok(true)
}

/// A token whose records other processes do not see is owned by the process that has its lock file.
async fn lock_file(folder: &mut Folder, worker: &TokenWorker) -> Result<(), OwnershipError> {
    if let Some(path) = &worker.config().lock_file {
        let until = Instant::now() + LOCK_FILE_TIMEOUT;
        loop {
            match folder.lock_too(path) {
                Err(FolderError::InUse(_)) if Instant::now() < until => {
                    tokio::time::sleep(LOCK_FILE_RETRY_DELAY).await;
                }
                locked => return Ok(locked?),
            }
        }
    }
    if run(worker, TokenState::hides_foreign_objects).await? {
        let token = worker.config().name().to_owned();
        return Err(OwnershipError::NeedsLockFile { token });
    }
    Ok(())
}
