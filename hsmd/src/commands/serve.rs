//! `hsmd serve`: built from the bottom up, stopped from the top down.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::{CommandError, prepare_state_dir, signer, stop_signer};
use crate::authz::Policy;
use crate::clock::Clock;
use crate::config::Config;
use crate::state::{Phase, Shared};
use crate::token::Modules;
use crate::{daemon, grpc};

/// Serves until SIGTERM or SIGINT, then finishes what was accepted.
///
/// # Errors
/// The start is refused, or the daemon can't go on.
pub async fn serve(config: Config, assume_crashed: bool) -> Result<(), CommandError> {
    prepare_state_dir(&config)?;
    let mut stop = stop_signals()?;
    let clock = Clock::start();
    let modules = Arc::new(Modules::default());
    let signer = Arc::new(signer(&config, &clock, &modules)?);
    let shared = Arc::new(Shared::new(Policy::new(&config), clock, Arc::clone(&signer)));
    let listeners = grpc::bind(&config.listen).await?;

    let mut server = tokio::spawn(grpc::serve(listeners, Arc::clone(&shared), stop.clone()));
    notify(&[NotifyState::Ready]);
    tracing::info!(
        service = %config.listen.service.path.display(),
        admin = %config.listen.admin.path.display(),
        "listening"
    );

    let result = tokio::select! {
        result = daemon::run(&config, &shared, assume_crashed) => result.map_err(CommandError::from),
        result = &mut server => match result {
            Ok(result) => result.map_err(CommandError::from),
            Err(error) => Err(CommandError::Refused(format!("the gRPC server ended: {error}"))),
        },
        _ = stop.wait_for(|stop| *stop) => Ok(()),
    };

    notify(&[NotifyState::Stopping]);
    shared.set_phase(Phase::Stopping);
    if result.is_ok() && !server.is_finished() {
        drain(&mut server, &shared, config.stop_grace).await;
    }
    server.abort();
    let blocking = tokio::task::spawn_blocking({
        let (signer, modules) = (Arc::clone(&signer), Arc::clone(&modules));
        move || stop_signer(&signer, &modules)
    });
    if tokio::time::timeout(config.stop_grace, blocking).await.is_err() {
        tracing::error!("the token does not answer: leaving without a logout");
        // The thread hangs in the module: waiting for it would be for ever.
        std::process::exit(1);
    }
    tracing::info!("stopped");
    result
}

/// Lets accepted calls and a running rotation finish.
async fn drain(
    server: &mut tokio::task::JoinHandle<Result<(), grpc::ServeError>>,
    shared: &Shared,
    grace: Duration,
) {
    let finished = tokio::time::timeout(grace, async {
        match server.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the gRPC server"),
            Err(error) => tracing::warn!(%error, "the gRPC server"),
        }
        // A rotation whose caller has left still holds the core.
        if let Some(core) = shared.core.lock().await.take()
            && let Some(writer) = core.into_writer()
        {
            writer.close().await;
        }
    });
    if finished.await.is_err() {
        tracing::warn!(?grace, "not everything finished in time");
    }
}

/// Becomes true at the first SIGTERM or SIGINT.
fn stop_signals() -> Result<watch::Receiver<bool>, CommandError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(CommandError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CommandError::Signals)?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        sender.send_replace(true);
        // Keeps the channel open: whoever waits sees the value, not an end.
        sender.closed().await;
    });
    Ok(receiver)
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}
