//! A request to stop, as a value that everything which runs can wait for.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Resolves when the service is asked to stop; every clone does. Once asked, always asked.
#[derive(Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// Makes its [`Shutdown`] resolve: by `stop`, or when dropped.
pub struct Trigger(watch::Sender<bool>);

impl Shutdown {
    /// A shutdown and what triggers it.
    #[must_use]
    pub fn new() -> (Trigger, Self) {
        let (sender, receiver) = watch::channel(false);
        (Trigger(sender), Self(receiver))
    }

    /// A shutdown that SIGTERM and SIGINT trigger.
    ///
    /// # Errors
    /// The signals can't be caught.
    pub fn on_signals() -> std::io::Result<Self> {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (trigger, shutdown) = Self::new();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
                _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
            }
            trigger.stop();
        });
        Ok(shutdown)
    }

    /// Waits until the service is asked to stop.
    pub async fn asked(&mut self) {
        // An error means that the trigger is gone, which asks for the same.
        let _asked = self.0.wait_for(|asked| *asked).await;
    }
}

/// From a value that becomes true.
impl From<watch::Receiver<bool>> for Shutdown {
    fn from(asked: watch::Receiver<bool>) -> Self {
        Self(asked)
    }
}

impl Trigger {
    /// Asks everything to stop.
    pub fn stop(self) {
        self.0.send_replace(true);
    }
}
