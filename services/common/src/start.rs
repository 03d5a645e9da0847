//! The straight line of every service's `main`: arguments, configuration, log, run, exit code.

use std::{
    error::Error, fmt::Write as _, io::Write as _, net::SocketAddr, path::PathBuf,
    process::ExitCode,
};

use clap::Parser;
use serde::de::DeserializeOwned;

use crate::{
    Shutdown,
    config::{ConfigError, LogConfig, load},
    telemetry,
};

/// Exit code for bad usage or configuration (EX_USAGE).
const USAGE: u8 = 64;

/// Why a service did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration can't be used: exit code 64.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address can't be listened on: exit code 1.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Anything else: exit code 1.
    #[error(transparent)]
    Failed(Box<dyn Error + Send + Sync>),
}

impl StartError {
    /// A failure that is not the configuration's fault.
    pub fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(error.into())
    }
}

#[derive(Parser)]
#[command(version, about = "Settings are in the configuration file, see its example")]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs a service from its arguments to its exit code: 0 after a clean stop, 64 for bad usage or
/// configuration, 1 for a failure. `log` finds the log's section in the configuration.
pub fn run<C, F>(
    default_config: &str,
    log: impl FnOnce(&C) -> &LogConfig,
    service: impl FnOnce(C, Shutdown) -> F,
) -> ExitCode
where
    C: DeserializeOwned,
    F: Future<Output = Result<(), StartError>>,
{
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let wanted = !error.use_stderr();
            // Where standard error or output is closed there is nobody to tell.
            let _told = error.print();
            return if wanted { ExitCode::SUCCESS } else { ExitCode::from(USAGE) };
        }
    };
    let path = arguments.config.unwrap_or_else(|| default_config.into());
    match start(path, log, service) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _told = writeln!(std::io::stderr(), "{}", chain(&error));
            match error {
                StartError::Config(_) => ExitCode::from(USAGE),
                StartError::Listen { .. } | StartError::Failed(_) => ExitCode::FAILURE,
            }
        }
    }
}

fn start<C, F>(
    path: PathBuf,
    log: impl FnOnce(&C) -> &LogConfig,
    service: impl FnOnce(C, Shutdown) -> F,
) -> Result<(), StartError>
where
    C: DeserializeOwned,
    F: Future<Output = Result<(), StartError>>,
{
    let config: C = load(&path)?;
    telemetry::init(log(&config)).map_err(|error| {
        let message = format!("[log] filter: {error}");
        ConfigError::Parse { path, message }
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(StartError::failed)?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals().map_err(StartError::failed)?;
        service(config, shutdown).await
    })
}

/// An error with its causes, each said once.
fn chain(error: &dyn Error) -> String {
    let mut text = format!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a String can't fail.
        let _written = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
