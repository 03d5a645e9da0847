//! Whether another state folder owns a token: the writer lock says nothing of a daemon with another database.

use std::sync::Arc;

use hsmd_support::chain;

use super::Report;
use crate::clock::Clock;
use crate::commands::{CommandError, signer, stop_signer};
use crate::config::Config;
use crate::keylog::Writer;
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
    let modules = Arc::new(Modules::default());
    let signer = signer(config, None, &Clock::start(), &modules, &Metrics::default())?;
    let found = owner(config, writer, &signer).await;
    stop_signer(&signer, &modules);
    found
}

/// An owner of one of the tokens that only a person may ignore.
///
/// # Errors
/// The state folder, the database, or a thread.
pub(in crate::commands) async fn owner(
    config: &Config,
    writer: &mut Writer,
    signer: &Signer,
) -> Result<Option<String>, CommandError> {
    let folder = Folder::id_of(&config.state_dir).map_err(OwnershipError::from)?;
    for worker in signer.workers().iter().filter(|worker| worker.config().lock_file.is_none()) {
        // What is wrong with the token is said where it is used.
        let Ok(records) = worker.run_once(TokenState::records).await? else { continue };
        // After the records: a claim is noted here before it stands there.
        let named = writer.claims().await?;
        let facts = Facts {
            folder: folder.as_deref().unwrap_or_default(),
            epoch: 0,
            highest: 0,
            records: &records,
            named: &named,
            take_over: false,
        };
        if let Decision::Refuse(owner) = decide(facts) {
            return Ok(Some(refusal(worker.config().name(), &owner)));
        }
    }
    Ok(None)
}

/// Whether another state folder owns a token, so that a start needs a person.
pub(super) async fn report_owner(config: &Config, signer: &Signer, report: &mut Report) -> bool {
    let found = async {
        // Without the lock: it only reads.
        let mut writer = Writer::connect(&config.database).await?;
        owner(config, &mut writer, signer).await
    };
    match found.await {
        Ok(None) => report.good("owner", "no other state folder stands in the way"),
        Ok(Some(refusal)) => {
            // Not fatal: the owner may release the token, and `serve --take-over-token` is not refused.
            report.bad("owner", refusal);
            return true;
        }
        Err(error) => report.bad("owner", chain(&error)),
    }
    false
}
