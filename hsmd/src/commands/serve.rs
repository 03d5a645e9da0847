//! `hsmd serve`: built from the bottom up, stopped from the top down.

use std::path::Path;
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{CommandError, prepare_state_dir, reload, signer, stop_signer};
use crate::audit::Audit;
use crate::authz::Policy;
use crate::clock::Clock;
use crate::config::{Config, LimitsConfig};
use crate::daemon::start::Confirmed;
use crate::daemon::state::{Phase, Shared};
use crate::daemon::{activation, watchdog};
use crate::observe::metrics::Metrics;
use crate::token::Modules;
use crate::{daemon, grpc, observe};

/// Serves until SIGTERM or SIGINT, then finishes what was accepted. SIGHUP reads the policy again.
///
/// # Errors
/// [`CommandError::Start`] if the start is refused; else what the daemon can't do without, for example
/// [`CommandError::Descriptors`] or [`CommandError::Serve`].
pub async fn serve(
    config: Config,
    config_file: &Path,
    confirmed: Confirmed,
) -> Result<(), CommandError> {
    let descriptors = harden()?;
    prepare_state_dir(&config)?;
    let mut stop = stop_signals()?;
    let hangup = signal(SignalKind::hangup()).map_err(CommandError::Signals)?;
    let inherited = activation::inherited().map_err(CommandError::Activation)?;
    let clock = Clock::start();
    let modules = Arc::new(Modules::default());
    let metrics = Arc::new(Metrics::default());
    let audit = Audit::start(&config.audit, clock.clone(), metrics.audit().clone())
        .map_err(CommandError::Audit)?;
    let signer = Arc::new(signer(
        &config,
        config.standby.then_some(config.lock_grace),
        &clock,
        &modules,
        &metrics,
    )?);
    let policy = Policy::new(&config);
    let database = config.database.clone();
    let shared =
        Arc::new(Shared::new(policy, metrics, audit, clock, Arc::clone(&signer), database));
    let limits = fit(&config, descriptors)?;
    let listeners = grpc::bind(&config.listen, &limits, inherited).await?;
    let mut beside = JoinSet::new();
    serve_http(&config, &shared, &stop, &mut beside).await?;
    let (config_file, policy_of) = (config_file.to_owned(), Arc::clone(&shared));
    beside.spawn(reload::on_hangup(hangup, config.clone(), config_file, policy_of));

    beside.spawn(watchdog::run(Arc::clone(&signer)));
    listeners.log_addresses(&config.listen);
    let mut server = tokio::spawn(grpc::serve(listeners, Arc::clone(&shared), stop.clone()));
    notify(&[NotifyState::Ready]);

    let mut server_ended = false;
    let result = tokio::select! {
        result = daemon::run(&config, &shared, confirmed) => result.map_err(CommandError::from),
        result = &mut server => {
            server_ended = true;
            match result {
                Ok(result) => result.map_err(CommandError::from),
                Err(error) => Err(CommandError::Refused(format!("the gRPC server ended: {error}"))),
            }
        }
        _ = stop.wait_for(|stop| *stop) => Ok(()),
    };

    notify(&[NotifyState::Stopping]);
    shared.set_phase(Phase::Stopping);
    if result.is_ok() && !server_ended {
        drain(&mut server, &shared, &config).await;
    }
    server.abort();
    beside.abort_all();
    let blocking = tokio::task::spawn_blocking({
        let (shared, modules) = (Arc::clone(&shared), Arc::clone(&modules));
        move || {
            stop_signer(&shared.signer, &modules);
            shared.audit.stop();
        }
    });
    if tokio::time::timeout(config.stop_grace, blocking).await.is_err() {
        tracing::error!("the token does not answer: exit without a logout");
        hsmd_runtime::flush_log(crate::observe::telemetry::FLUSH_TIMEOUT);
        // The token's thread hangs in the module and can't be joined.
        std::process::exit(1);
    }
    tracing::info!("stopped");
    result
}

/// No core dump and no debugger sees the PIN, and the process may have as many descriptors as the system
/// lets it: how many.
fn harden() -> Result<usize, CommandError> {
    let hard = |error: nix::Error| CommandError::Harden(error.into());
    nix::sys::prctl::set_dumpable(false).map_err(hard)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(hard)?;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).map_err(hard)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).map_err(hard)?;
    Ok(usize::try_from(most).unwrap_or(usize::MAX))
}

/// The limits, with no more connections than there are descriptors for.
fn fit(config: &Config, descriptors: usize) -> Result<LimitsConfig, CommandError> {
    let connections = config
        .limits
        .connections_within(&config.listen, descriptors)
        .map_err(|needed| CommandError::Descriptors { allowed: descriptors, needed })?;
    if connections < config.limits.connections {
        tracing::warn!(
            descriptors,
            connections,
            "RLIMIT_NOFILE is too low for limits.connections: fewer connections are accepted"
        );
    }
    Ok(LimitsConfig { connections, ..config.limits.clone() })
}

/// Metrics and health over HTTP, if configured.
async fn serve_http(
    config: &Config,
    shared: &Arc<Shared>,
    stop: &watch::Receiver<bool>,
    beside: &mut JoinSet<()>,
) -> Result<(), CommandError> {
    let Some(observe) = &config.observe else { return Ok(()) };
    let address = observe.address;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| CommandError::Observe { address, source })?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "metrics and health over HTTP");
    }
    beside.spawn(observe::http::serve(listener, Arc::clone(shared), stop.clone()));
    Ok(())
}

/// Lets accepted calls and a running rotation finish.
async fn drain(
    server: &mut tokio::task::JoinHandle<Result<(), grpc::ServeError>>,
    shared: &Shared,
    config: &Config,
) {
    let grace = config.stop_grace;
    let finished = tokio::time::timeout(grace, async {
        match server.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the gRPC server failed"),
            Err(error) => tracing::warn!(%error, "the gRPC server failed"),
        }
        // A rotation whose caller has left still holds the core.
        let mut core = shared.core.lock().await.take();
        if config.standby
            && let Some(core) = &mut core
        {
            match core.prove_lock().await {
                Ok(_) => release_tokens(shared).await,
                Err(error) => tracing::warn!(%error, "the token is not released"),
            }
        }
        if let Some(core) = core
            && let Some(writer) = core.into_writer()
        {
            writer.close().await;
        }
    });
    if finished.await.is_err() {
        tracing::warn!(?grace, "stop_grace is over: unfinished calls are dropped");
    }
}

/// The other daemon of the pair need not wait for our lease.
async fn release_tokens(shared: &Shared) {
    for worker in shared.signer.workers() {
        match worker.run_once(|token_state| token_state.release_ownership()).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the token was not released"),
        }
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
        // Keeps the channel open: a receiver sees the value, not an end.
        sender.closed().await;
    });
    Ok(receiver)
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}
