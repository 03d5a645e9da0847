//! SIGHUP: purposes, callers and admins are read again, all or nothing. What the file says and the daemon
//! does not do is a problem in Status, and a metric.

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
        shared.set_config_problem(reload(&config, &file, &shared));
    }
}

/// Takes the policy; the answer is in what the file and the running configuration differ.
fn reload(running: &Config, file: &Path, shared: &Shared) -> Option<String> {
    let read = match Config::load(file) {
        Ok(read) => read,
        Err(error) => {
            let error = chain(&error);
            tracing::error!(error, "the old policy stays in force");
            return Some(format!(
                "the reload was refused and the old policy stays in force: {error}"
            ));
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
    if with_the_policy_read == read {
        return None;
    }
    tracing::warn!("other settings have changed as well: they need a restart");
    Some("the configuration has changed in settings that need a restart".into())
}
