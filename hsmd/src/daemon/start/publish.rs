//! What readers are shown before the daemon serves: nothing that the journal contradicts, and no less than
//! they were shown before.

use hsmd_chain::KeyLog;
use hsmd_support::chain;

use super::{StartError, read_journal};
use crate::config::Config;
use crate::daemon::core::CoreError;
use crate::daemon::core::append_pending::pending;
use crate::daemon::known::Known;
use crate::daemon::state::Shared;
use crate::journal::Journal;
use crate::keylog::Writer;
use crate::ownership::OwnershipError;
use crate::ownership::folder::Folder;
use crate::ownership::rules::{own, superseded};

/// Readers need not wait for a token that is away, if only this folder can know more than the rows: the
/// newest claim that the database knows is its own, and what others had left on the token was merged, or there
/// has been no claim. Where log and journal contradict each other nothing is shown, and the start will say why.
///
/// # Errors
/// [`StartError::Keylog`], [`StartError::Ownership`] for the state folder.
pub async fn before_the_token(
    config: &Config,
    shared: &Shared,
    writer: &mut Writer,
    log: &KeyLog,
) -> Result<(), StartError> {
    if let Some(claim) = writer.claims().await?.into_iter().next()
        && !Folder::has_merged(&config.state_dir, &claim.folder, claim.epoch)
            .map_err(OwnershipError::from)?
    {
        return Ok(());
    }
    let journal = Journal::open(&config.state_dir, &log.identity()).map_err(CoreError::from);
    if let Ok(shown) = journal.and_then(|journal| with_taints(log, &journal)) {
        show(shared, shown);
    }
    Ok(())
}

/// Shows nothing until it is known again that no other daemon is ahead: a frozen log must not hide a taint.
pub fn hide(shared: &Shared) {
    shared.log.send_if_modified(|shown| shown.take().is_some());
}

/// Shows a log, unless a longer one is shown already: the token may have been ahead of the rows.
fn show(shared: &Shared, log: KeyLog) {
    shared.log.send_if_modified(|shown| {
        let is_news = shown.as_ref().is_none_or(|shown| shown.events().len() < log.events().len());
        if is_news {
            *shown = Some(log);
        }
        is_news
    });
}

/// The log with the journal's taints. A rotation is shown when its row is there.
pub fn with_taints(log: &KeyLog, journal: &Journal) -> Result<KeyLog, CoreError> {
    let mut longer = log.clone();
    let lacking = pending(journal.entries(), &mut longer)?;
    let all_taint = lacking.iter().all(|event| event.event().taint_previous());
    Ok(if all_taint { longer } else { log.clone() })
}

/// While the database is away, readers are shown what `state_dir` and the token have: a taint that was
/// answered must not be hidden by it. In a standby pair another may know more, and so may a daemon that has claimed
/// the token since; that is looked at again each time.
pub async fn without_database(config: &Config, shared: &Shared) {
    if config.standby {
        return;
    }
    match is_claimed_by_another(config, shared).await {
        Ok(false) => {}
        Ok(true) => return hide(shared),
        // The token may know more.
        Err(error) => {
            return tracing::debug!(error = chain(&error), "the token's owner is not known");
        }
    }
    if shared.log.borrow().is_some() {
        return;
    }
    let known = match Known::without_database(config) {
        Ok(Some(known)) => known,
        Ok(None) => return,
        Err(error) => {
            return tracing::warn!(
                error = chain(&error),
                "cannot serve the key log from state_dir"
            );
        }
    };
    let journal = read_journal(config, &shared.signer, &known.log).await;
    match journal.and_then(|journal| with_taints(&known.log, &journal)) {
        Ok(shown) => {
            tracing::info!("serving the key log from state_dir until the database is back");
            show(shared, shown);
        }
        Err(error) => {
            tracing::warn!(error = chain(&error), "cannot serve the key log from state_dir")
        }
    }
}

/// Whether another folder's record on a token is at least as new as our own, given up or not.
async fn is_claimed_by_another(config: &Config, shared: &Shared) -> Result<bool, OwnershipError> {
    let folder = Folder::id_of(&config.state_dir)?.unwrap_or_default();
    for worker in shared.signer.workers() {
        let records = worker.run(|token_state| {
            token_state.open()?;
            token_state.records()
        });
        let records = records.await.map_err(CoreError::from)??;
        let epoch = own(&records, &folder).map_or(1, |record| record.epoch.max(1));
        if superseded(&records, &folder, epoch).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
