//! SIGHUP: purposes, callers and admins are read again, all or nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hsmd_support::chain;
use tokio::signal::unix::Signal;

use crate::config::Config;
use crate::daemon::state::Shared;

/// Reads the policy again at each SIGHUP, until dropped.
pub(super) async fn on_hangup(
    mut hangup: Signal,
    config: Config,
    file: PathBuf,
    shared: Arc<Shared>,
) {
    while hangup.recv().await.is_some() {
        shared.audit.reopen();
        reload(&config, &file, &shared);
    }
}

fn reload(running: &Config, file: &Path, shared: &Shared) {
    let read = match Config::load(file) {
        Ok(read) => read,
        Err(error) => {
            return tracing::error!(error = chain(&error), "the old policy stays in force");
        }
    };
    shared.policy.store(Arc::new(shared.policy.load().renewed(&read)));
    tracing::info!(
        callers = read.caller.len(),
        admins = read.admin.len(),
        "the policy is reloaded"
    );
    let with_the_policy_read = Config {
        purposes: read.purposes.clone(),
        caller: read.caller.clone(),
        admin: read.admin.clone(),
        ..running.clone()
    };
    if with_the_policy_read != read {
        tracing::warn!("other settings have changed as well: they need a restart");
    }
}
