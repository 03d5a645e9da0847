//! The supervisor's watchdog (systemd's `WatchdogSec=`): what no health check can cure, a restart can.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::signer::{Signer, TokenWorker};

/// A call into a PKCS#11 module that takes longer will never return, and nothing but the end of the
/// process can end it. Generating a key on a slow device takes less.
const HUNG_AFTER: Duration = Duration::from_secs(60);

/// Tells the supervisor that the daemon lives, as often as it wants to hear it, until dropped. Falls
/// silent for good when a call into a PKCS#11 module hangs: the supervisor then ends the process. Does
/// nothing where no supervisor asks.
pub async fn run(signer: Arc<Signer>) {
    let Some(timeout) = sd_notify::watchdog_enabled() else { return };
    let mut tick = tokio::time::interval(timeout / 4);
    loop {
        tick.tick().await;
        if let Some(worker) = signer.workers().iter().find(|worker| hangs(worker)) {
            let token = worker.config().name();
            tracing::error!(token, "a call into the module hangs: waiting for the watchdog");
            return;
        }
        if let Err(error) = sd_notify::notify(&[NotifyState::Watchdog]) {
            tracing::warn!(%error, "cannot notify systemd");
        }
    }
}

fn hangs(worker: &TokenWorker) -> bool {
    let pulse = worker.pulse();
    pulse.signing_for().max(pulse.working_for()).is_some_and(|time| time > HUNG_AFTER)
}
