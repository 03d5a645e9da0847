//! What a supervisor like systemd gives the daemon: listening sockets by name, and a watchdog.
//!
//! Both are optional: without them the daemon makes its own sockets and nobody asks whether it lives.

use std::io;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::signer::{Signer, TokenWorker};

/// A call into a PKCS#11 module that takes longer will never return, and nothing but the end of the
/// process can end it. Generating a key on a slow device takes less.
const HUNG_AFTER: Duration = Duration::from_secs(60);

/// Inherited listening sockets, by the names that `FileDescriptorName=` gave them.
#[derive(Debug, Default)]
pub struct Sockets(Vec<(String, UnixListener)>);

impl Sockets {
    /// Takes over what systemd hands to this process; nothing when it was started otherwise. To be
    /// called once, before anything else may open files.
    ///
    /// # Errors
    /// What was handed over is not a listening Unix socket.
    pub fn inherited() -> io::Result<Self> {
        let names: Vec<String> =
            sd_notify::listen_fds_with_names()?.map(|(_, name)| name).collect();
        // Without names it was not systemd's protocol, or not for this process.
        if names.is_empty() {
            return Ok(Self::default());
        }
        let mut inherited = ListenFd::from_env();
        let mut sockets = Vec::new();
        for (index, name) in names.into_iter().enumerate() {
            if let Some(socket) = inherited.take_unix_listener(index)? {
                socket.set_nonblocking(true)?;
                sockets.push((name, socket));
            }
        }
        Ok(Self(sockets))
    }

    /// Takes the socket of that name.
    pub fn take(&mut self, name: &str) -> Option<UnixListener> {
        let index = self.0.iter().position(|(other, _)| other == name)?;
        Some(self.0.swap_remove(index).1)
    }
}

/// Tells the supervisor that the daemon lives, as often as it wants to hear it, until dropped. Falls
/// silent for good when a call into a PKCS#11 module hangs: the supervisor then ends the process.
pub async fn watchdog(signer: Arc<Signer>) {
    let Some(timeout) = sd_notify::watchdog_enabled() else { return };
    let mut tick = tokio::time::interval(timeout / 4);
    loop {
        tick.tick().await;
        let hung = |worker: &&TokenWorker| {
            let pulse = worker.pulse();
            pulse.signing_for().max(pulse.working_for()).is_some_and(|time| time > HUNG_AFTER)
        };
        if let Some(worker) = signer.workers().iter().find(hung) {
            tracing::error!(token = worker.config().name(), "a call to the token hangs: ending");
            return;
        }
        notify(&[NotifyState::Watchdog]);
    }
}

/// Tells the supervisor how far the daemon is. There may be none.
pub fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}
