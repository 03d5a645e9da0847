//! The straight line of every service's `main`: arguments, configuration, log, run, exit code.

use std::{
    error::Error,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Arg, Command, value_parser};
use hsmd_support::{Report, cli, report};
use serde::de::DeserializeOwned;

use crate::{ConfigError, LogConfig, Shutdown, flush_log, load, log_to_stderr};

/// How long the end waits for a reader of standard error.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

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
        /// What the system answered.
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

/// What a service says of itself: `--help`, `--version`, its manual page.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The command's name.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// The configuration's file where none is named.
    pub config: &'static str,
    /// Its version.
    pub version: &'static str,
}

impl Program {
    fn command(self) -> Command {
        Command::new(self.name)
            .version(self.version)
            .about(self.about)
            .after_help(
                "Exit codes: 0 stopped by SIGTERM, 1 failed, 64 bad usage or configuration.",
            )
            .arg(
                Arg::new("command").value_parser(["serve", "check"]).default_value("serve").help(
                    "Serve until SIGTERM, or try all that serving needs and say what is wrong",
                ),
            )
            .arg(
                Arg::new("config")
                    .long("config")
                    .value_name("FILE")
                    .default_value(self.config)
                    .value_parser(value_parser!(PathBuf))
                    .help("The configuration; its example documents every setting"),
            )
    }
}

/// Runs a service from its arguments to its exit code: 0 after a clean stop, 64 for bad usage or
/// configuration, 1 for a failure. `log` finds the log's section in the configuration, and `check` is what
/// the command `check` looks at.
pub fn run<C, F>(
    program: Program,
    log: impl FnOnce(&C) -> &LogConfig,
    service: impl FnOnce(C, Shutdown) -> F,
    check: impl AsyncFnOnce(C, &mut Report),
) -> ExitCode
where
    C: DeserializeOwned,
    F: Future<Output = Result<(), StartError>>,
{
    let arguments = match cli::matches(program.command()) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    // clap fills in the default.
    let path = arguments.get_one::<PathBuf>("config").map_or(Path::new(program.config), |it| it);
    let ended = match arguments.get_one::<String>("command").map(String::as_str) {
        Some("check") => checked(path, check),
        _ => start(path, log, service),
    };
    end(program.name, ended)
}

/// Writes what the log still holds and why the program failed, if it did: its exit code.
pub fn end(program: &str, ended: Result<(), StartError>) -> ExitCode {
    flush_log(FLUSH_TIMEOUT);
    let Err(error) = ended else { return ExitCode::SUCCESS };
    report(program, &error);
    match error {
        StartError::Config(_) => ExitCode::from(cli::USAGE),
        StartError::Listen { .. } | StartError::Failed(_) => ExitCode::FAILURE,
    }
}

/// No core dump and no debugger sees a secret.
///
/// # Errors
/// The system refuses.
pub fn harden() -> std::io::Result<()> {
    nix::sys::prctl::set_dumpable(false)?;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0)?;
    Ok(())
}

/// Prints what was looked at, and fails if anything is wrong. Nothing is logged: the lines say it.
fn checked<C: DeserializeOwned>(
    path: &Path,
    check: impl AsyncFnOnce(C, &mut Report),
) -> Result<(), StartError> {
    harden().map_err(StartError::failed)?;
    let config: C = load(path)?;
    let mut report = Report::default();
    report.good("configuration", "is valid");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(StartError::failed)?;
    runtime.block_on(check(config, &mut report));
    std::io::stdout().write_all(report.text().as_bytes()).map_err(StartError::failed)?;
    match report.bad_count() {
        0 => Ok(()),
        bad => Err(StartError::failed(format!("{bad} of these are wrong"))),
    }
}

fn start<C, F>(
    path: &Path,
    log: impl FnOnce(&C) -> &LogConfig,
    service: impl FnOnce(C, Shutdown) -> F,
) -> Result<(), StartError>
where
    C: DeserializeOwned,
    F: Future<Output = Result<(), StartError>>,
{
    harden().map_err(StartError::failed)?;
    let config: C = load(path)?;
    log_to_stderr(log(&config)).map_err(|error| ConfigError::section("log", error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(StartError::failed)?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals().map_err(StartError::failed)?;
        service(config, shutdown).await
    })
}
