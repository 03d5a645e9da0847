//! The watchdog: a call into a PKCS#11 module may hang for ever and can't be cancelled. What no health
//! check can cure, a restart can.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sd_notify::NotifyState;

use crate::observe::telemetry::FLUSH_TIMEOUT;
use crate::signer::{Signer, TokenWorker};

const PERIOD: Duration = Duration::from_millis(250);

/// How long an orderly exit may take. The module's own clean-up may wait for the call that hangs.
const EXIT_WITHIN: Duration = Duration::from_secs(2);

/// Ends the process with exit code 1 when a token's thread has been in one call for the token's
/// `hang_limit`, or is dead. As long as all are alive, notifies the supervisor (systemd's `WatchdogSec=`)
/// as often as it expects: without these notifications it restarts a daemon in which this task hangs, too.
pub async fn run(signer: Arc<Signer>) {
    let notify_every = sd_notify::watchdog_enabled().map(|timeout| timeout / 4);
    let mut tick = tokio::time::interval(notify_every.map_or(PERIOD, |every| every.min(PERIOD)));
    let mut notified: Option<Instant> = None;
    let mut notifying: Option<JoinHandle<()>> = None;
    loop {
        tick.tick().await;
        if let Some(worker) = signer.workers().iter().find(|worker| hangs(worker)) {
            let (token, after) = (worker.config().name(), worker.config().hang_limit);
            tracing::error!(token, ?after, "a call to the token hangs: ending the process");
            end();
        }
        if let Some(every) = notify_every
            && notified.is_none_or(|at| at.elapsed() >= every)
            && notifying.as_ref().is_none_or(JoinHandle::is_finished)
        {
            notified = Some(Instant::now());
            // The notification may block when the supervisor does not read it. This task must go on, so
            // a thread sends it and is not waited for.
            let thread = std::thread::Builder::new().name("notify".into());
            match thread.spawn(notify) {
                Ok(started) => notifying = Some(started),
                Err(error) => tracing::warn!(%error, "cannot start a thread to notify systemd"),
            }
        }
    }
}

fn notify() {
    if let Err(error) = sd_notify::notify(&[NotifyState::Watchdog]) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}

fn hangs(worker: &TokenWorker) -> bool {
    worker.liveness().last_step() > worker.config().hang_limit
}

fn end() -> ! {
    let killer = std::thread::Builder::new().name("end".into()).spawn(|| {
        std::thread::sleep(EXIT_WITHIN);
        kill(Pid::this(), Signal::SIGKILL)
    });
    if let Err(error) = killer {
        tracing::error!(%error, "cannot start a thread: leaving the end to the supervisor");
    }
    hsmd_runtime::flush_log(FLUSH_TIMEOUT);
    std::process::exit(1)
}
