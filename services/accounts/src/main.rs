//! `hsmd-accounts [--config FILE] [serve|check|migrate|withdraw|end-sessions|import]`: e-mail and password accounts over HTTP.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use hsmd_accounts::{Config, commands, run};
use hsmd_runtime::{ConfigError, Shutdown, StartError, end, harden, load, log_to_stderr};
use hsmd_support::cli;

/// A request makes and frees some hundred small pieces of memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// E-mail and password accounts, sessions and JWTs for web applications
#[derive(Parser)]
#[command(
    name = "hsmd-accounts",
    version,
    after_help = "Exit codes: 0 done or stopped by SIGTERM, 1 failed, 64 bad usage or configuration."
)]
struct Arguments {
    /// The configuration; its example documents every setting
    #[arg(long, value_name = "FILE", global = true, default_value = "/etc/hsmd/accounts.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM; what is done if no command is named
    Serve,
    /// Try the configuration, the database, hsmd and mail, and print fingerprints of the header secrets
    Check,
    /// Make the tables or bring them up to date
    Migrate,
    /// Withdraw signing keys for ever: no replica lists them any more within a second
    Withdraw(Withdraw),
    /// End every session of every user
    EndSessions,
    /// Copy users and password hashes from the tables of the library's server, version 1.7
    Import(Import),
}

#[derive(Args)]
struct Import {
    /// A file that holds the URL of the library's Postgres database
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Write, instead of only saying what would be written
    #[arg(long)]
    write: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Withdraw {
    /// The key's text, which is the `kid` of its tokens
    kid: Option<String>,
    /// All keys of all replicas, which then make new ones
    #[arg(long)]
    all: bool,
}

fn main() -> ExitCode {
    let arguments: Arguments = match cli::parse() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    match start(arguments) {
        Ok(text) if io::stdout().write_all(text.as_bytes()).is_err() => ExitCode::FAILURE,
        ended => end("hsmd-accounts", ended.map(drop)),
    }
}

fn start(arguments: Arguments) -> Result<String, StartError> {
    harden().map_err(StartError::failed)?;
    let config: Config = load(&arguments.config)?;
    config.check().map_err(|error| ConfigError::section(error.section(), error))?;
    log_to_stderr(&config.log).map_err(|error| ConfigError::section("log", error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(StartError::failed)?;
    runtime.block_on(async {
        match arguments.command.unwrap_or(Command::Serve) {
            Command::Serve => {
                let shutdown = Shutdown::on_signals().map_err(StartError::failed)?;
                run(config, shutdown).await.map(|()| String::new())
            }
            Command::Check => commands::check(&config).await,
            Command::Migrate => commands::migrate(&config).await,
            Command::EndSessions => commands::end_sessions(&config).await,
            Command::Import(what) => commands::import(&config, &what.from, what.write).await,
            Command::Withdraw(what) => commands::withdraw(&config, what.kid.as_deref()).await,
        }
    })
}
