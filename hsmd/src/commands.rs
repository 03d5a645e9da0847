//! The commands: each a straight line over the components.

mod check;
mod clear_branch;
pub mod cli;
mod export;
mod import;
mod init;
mod migrate;
mod reload;
mod serve;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hsmd_support::chain;

use self::cli::{Arguments, Command};
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::daemon::core::CoreError;
use crate::daemon::retry_lock;
use crate::daemon::start::{Confirmed, StartError};
use crate::grpc::ServeError;
use crate::journal::JournalError;
use crate::keylog::{AppendError, KeylogError, Writer};
use crate::observe::metrics::Metrics;
use crate::ownership::OwnershipError;
use crate::signer::{ReleaseCheck, Signer, TokenWorker, WorkerGone};
use crate::token::{Inventory, Modules, TokenError};

/// Of half a second each.
const LOCK_ATTEMPTS: usize = 4;

/// How long a command that waits for the database lets it rest.
const DATABASE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log filter is malformed.
    #[error("log.filter is not valid: {0}")]
    LogFilter(String),
    /// The collector of traces can't be used.
    #[error("trace.endpoint is not usable: {0}")]
    Traces(String),
    /// The async runtime does not start.
    #[error("cannot start the async runtime")]
    Runtime(#[source] std::io::Error),
    /// A token's thread does not start.
    #[error("cannot start the token's thread")]
    Thread(#[source] std::io::Error),
    /// The state folder can't be used.
    #[error("state_dir {path} can't be used")]
    StateDir {
        /// The folder.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: std::io::Error,
    },
    /// Start-up.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The listeners.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// What systemd handed over.
    #[error("cannot take the sockets that systemd handed over")]
    Activation(#[source] std::io::Error),
    /// The process can't be protected.
    #[error("cannot protect the process (no dumps, descriptor limit)")]
    Harden(#[source] std::io::Error),
    /// There are too few file descriptors.
    #[error("RLIMIT_NOFILE is {allowed}: at least {needed} descriptors are needed (LimitNOFILE=)")]
    Descriptors {
        /// How many there may be.
        allowed: usize,
        /// How many are needed.
        needed: usize,
    },
    /// The audit sink.
    #[error("cannot open the audit sink")]
    Audit(#[source] std::io::Error),
    /// The HTTP listener for metrics and health.
    #[error("cannot listen on {address} for metrics and health")]
    Observe {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system answered.
        #[source]
        source: std::io::Error,
    },
    /// The token is not ours.
    #[error(transparent)]
    Ownership(#[from] OwnershipError),
    /// The database.
    #[error(transparent)]
    Keylog(#[from] KeylogError),
    /// The history.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token's thread.
    #[error(transparent)]
    WorkerGone(#[from] WorkerGone),
    /// The append.
    #[error("cannot append to the key log")]
    Append(#[from] AppendError),
    /// The signal handlers.
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
    /// A file can't be read.
    #[error("cannot read {path}")]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: std::io::Error,
    },
    /// Standard output.
    #[error("cannot write to standard output")]
    Output(#[source] std::io::Error),
    /// The command says no, and why.
    #[error("{0}")]
    Refused(String),
    /// A copy of the log does not verify.
    #[error("the copy does not verify")]
    Copy(#[source] hsmd_chain::LogError),
    /// A copy of the log is not a continuation of ours.
    #[error("the copy does not continue the log in the database")]
    CopyDiverges(#[source] hsmd_chain::log::CatchUpError),
}

/// Runs the command that was asked for.
///
/// # Errors
/// What kept it from its end, as [`CommandError`] names it.
pub async fn run(config: Config, arguments: Arguments) -> Result<(), CommandError> {
    match arguments.command {
        Command::Serve { assume_crashed, take_over_token } => {
            let confirmed = Confirmed { assume_crashed, take_over_token };
            serve::serve(config, &arguments.config, confirmed).await
        }
        Command::Init => init::init(&config).await,
        Command::Check { config_only: true, .. } => check::check_config(&config),
        Command::Check { try_token, config_only: false, before_serve, wait } => {
            let try_with = try_token.then_some(&*arguments.config);
            check::check(&config, try_with, before_serve, wait).await
        }
        Command::Look { token } => check::look(&config, &token),
        Command::Export => export::export(&config).await,
        Command::Import { file, without_token } => {
            import::import(&config, &file, without_token).await
        }
        Command::ClearBranch { log, discard, take_over_token } => {
            let confirmed = clear_branch::Confirmed { discard, take_over_token };
            clear_branch::clear_branch(&config, &log, &confirmed).await
        }
        Command::Migrate { wait } => migrate::migrate(&config, wait).await,
    }
}

/// The tokens of a configuration, with their threads, nothing opened yet. `grace` is how long a proof of the
/// lock lasts, for a daemon of a standby pair.
fn signer(
    config: &Config,
    grace: Option<Duration>,
    clock: &Clock,
    modules: &Arc<Modules>,
    metrics: &Metrics,
) -> Result<Signer, CommandError> {
    let release_check = Arc::new(ReleaseCheck::new(grace, config.token.len()));
    let workers = config.token.iter().enumerate().map(|(index, token)| {
        TokenWorker::start(
            index,
            token.clone(),
            config.state_dir.clone(),
            Arc::clone(modules),
            clock.clone(),
            Arc::clone(&release_check),
            metrics.token(),
            config.limits.batch,
        )
        .map_err(CommandError::Thread)
    });
    Ok(Signer::new(workers.collect::<Result<_, _>>()?, release_check, config.limits.batch))
}

/// Ends the tokens' threads and finalises the modules.
fn stop_signer(signer: &Signer, modules: &Modules) {
    for worker in signer.workers() {
        worker.stop();
    }
    modules.close();
}

/// Opens every token and lists our keys.
async fn inventories(signer: &Signer) -> Result<Vec<Inventory>, CommandError> {
    let mut inventories = Vec::new();
    for worker in signer.workers() {
        let inventory = worker
            .run(|token_state| {
                token_state.open()?;
                token_state.inventory()
            })
            .await??;
        inventories.push(inventory);
    }
    Ok(inventories)
}

/// Makes the state folder usable: it exists and can be written and synced.
fn prepare_state_dir(config: &Config) -> Result<(), CommandError> {
    let path = &config.state_dir;
    let error = |source| CommandError::StateDir { path: path.clone(), source };
    std::fs::create_dir_all(path).map_err(error)?;
    let probe = path.join("probe");
    hsmd_support::durable::write(&probe, b"").map_err(error)?;
    hsmd_support::durable::remove(&probe).map_err(error)
}

/// The writer's connection with the lock, for a command that changes something. Postgres may still be
/// about to notice the end of a daemon that was stopped for it.
async fn locked_writer(config: &Config) -> Result<Writer, CommandError> {
    let mut writer = Writer::connect(&config.database).await?;
    for _ in 0..LOCK_ATTEMPTS {
        if retry_lock(&mut writer).await? {
            return Ok(writer);
        }
    }
    Err(StartError::AnotherWriter.into())
}

/// Tries until the database answers, for at most so long; what waiting does not cure ends it at once.
async fn when_it_answers<T>(
    wait: Duration,
    connect: impl AsyncFn() -> Result<T, KeylogError>,
) -> Result<T, KeylogError> {
    let end = Instant::now() + wait;
    loop {
        match connect().await {
            Err(error) if error.is_transient() && Instant::now() < end => {
                tracing::warn!(error = chain(&error), "waiting for the database");
                tokio::time::sleep(DATABASE_RETRY_DELAY).await;
            }
            outcome => return outcome,
        }
    }
}

/// The user who runs a command, for the record.
fn local_caller() -> String {
    format!("uid {} (command line)", nix::unistd::getuid())
}
