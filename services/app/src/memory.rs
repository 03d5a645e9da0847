//! Watches whether Redis remembers nonces and revocations: after a flush or a restart it does not for a
//! while. Requests ask for themselves; this is for `/ready`, and it starts the nonces' clock.

use std::time::Duration;

use hsmd_store::{Store, StoreError};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{self, MissedTickBehavior},
};

/// How often Redis is asked. A change is in the log at most this much later.
const CHECK: Duration = Duration::from_millis(500);

/// The running watch; dropping it ends it.
pub(crate) struct Memory {
    problem: watch::Receiver<Option<String>>,
    task: JoinHandle<()>,
}

impl Memory {
    pub(crate) fn watch(store: Store, clock_skew: Duration) -> Self {
        let (sender, problem) = watch::channel(Some("Redis has not been asked yet".to_owned()));
        let task = tokio::spawn(async move {
            let mut ticks = time::interval(CHECK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let problem = look(&store, clock_skew).await.unwrap_or_else(|error| {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "Redis gives no answer"
                    );
                    Some(error.to_string())
                });
                report(&sender, problem);
            }
        });
        Self { problem, task }
    }

    /// What Redis does not remember now, as a public sentence.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.borrow().clone()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn look(store: &Store, clock_skew: Duration) -> Result<Option<String>, StoreError> {
    let problem = if !store.nonces.remember_enough(clock_skew).await? {
        Some("Redis has forgotten which requests were made")
    } else if !store.revoked_devices.is_complete().await? {
        Some("Redis does not hold all revocations")
    } else {
        None
    };
    Ok(problem.map(str::to_owned))
}

/// Logs a change, not every look.
fn report(sender: &watch::Sender<Option<String>>, problem: Option<String>) {
    let changed = sender.send_if_modified(|before| {
        let changed = *before != problem;
        before.clone_from(&problem);
        changed
    });
    match (changed, problem) {
        (true, Some(problem)) => {
            tracing::warn!(problem, "health check failing: requests are refused")
        }
        (true, None) => tracing::info!("health check passing"),
        (false, _) => {}
    }
}
