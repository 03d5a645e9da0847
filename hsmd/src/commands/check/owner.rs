//! Whether a daemon may be serving with a token that `check --try` is about to try: the writer lock, which the
//! command holds, says nothing of one with another database.

use std::sync::Arc;

use crate::clock::Clock;
use crate::commands::{CommandError, signer, stop_signer};
use crate::config::Config;
use crate::keylog::{Claim, Writer};
use crate::observe::metrics::Metrics;
use crate::ownership::folder::{Folder, FolderError};
use crate::ownership::rules::{Decision, Facts, decide};
use crate::ownership::{OwnershipError, refusal};
use crate::signer::{Signer, TokenState};
use crate::token::Modules;

/// Why nothing may be tried, if so.
///
/// # Errors
/// The state folder, the database, or a thread.
pub(super) async fn in_the_way(
    config: &Config,
    writer: &mut Writer,
) -> Result<Option<String>, CommandError> {
    let files = config.token.iter().filter_map(|token| token.lock_file.clone());
    for path in files.chain([Folder::lock_of(&config.state_dir)]) {
        if Folder::is_locked(&path).map_err(OwnershipError::from)? {
            return Ok(Some(FolderError::InUse(path).to_string()));
        }
    }
    let named = writer.claims().await?;
    let modules = Arc::new(Modules::default());
    let signer = signer(config, None, &Clock::start(), &modules, &Metrics::default())?;
    let found = owner(config, &named, &signer).await;
    stop_signer(&signer, &modules);
    found
}

/// An owner of one of the tokens that only a person may ignore.
async fn owner(
    config: &Config,
    named: &[Claim],
    signer: &Signer,
) -> Result<Option<String>, CommandError> {
    let folder = Folder::id_of(&config.state_dir).map_err(OwnershipError::from)?;
    for worker in signer.workers().iter().filter(|worker| worker.config().lock_file.is_none()) {
        // What is wrong with the token is the trial's to say.
        let Ok(records) = worker.run_once(TokenState::records).await? else { continue };
        let facts = Facts {
            folder: folder.as_deref().unwrap_or_default(),
            epoch: 0,
            highest: 0,
            records: &records,
            named,
            take_over: false,
        };
        if let Decision::Refuse(owner) = decide(facts) {
            return Ok(Some(refusal(worker.config().name(), &owner)));
        }
    }
    Ok(None)
}
