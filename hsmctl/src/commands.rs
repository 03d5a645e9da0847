//! What each command does. Those that need a daemon run on one small runtime.

mod audit;
mod log;
mod reconcile;
mod rotate;
mod sign;
mod status;
mod verify;

use std::io::{self, Read};

use clap::CommandFactory;
use hsmd_client::chain::Timestamp;
use hsmd_client::{AdminClient, Client, Clock, ConnectOptions, TlsOptions};

use crate::args::{Cli, Command, Global};
use crate::failure::{Failure, Kind};
use crate::output::Output;

/// Does what was typed.
pub(crate) fn run(cli: &Cli, output: &Output) -> Result<(), Failure> {
    match &cli.command {
        Command::Audit(audit) if !audit.signatures.is_empty() => audit::signatures(audit, output),
        Command::Verify(verify) => verify::run(verify, &cli.global, output),
        Command::Reconcile(args) => reconcile::run(args, &cli.global, output),
        Command::Completions { shell } => completions(*shell, output),
        command => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| Failure::new(Kind::Failed, &error))?;
            runtime.block_on(online(command, &cli.global, output))
        }
    }
}

async fn online(command: &Command, global: &Global, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Status => status::run(&admin(global)?, output).await,
        Command::Audit(audit) => audit::run(&admin(global)?, audit, output).await,
        Command::Identity => log::identity(&client(global)?, global, output).await,
        Command::Log(log) => log::run(&client(global)?, log, global, output).await,
        Command::Endorse(endorse) => sign::endorse(&client(global)?, endorse, output).await,
        Command::Sign(sign) => sign::document(&client(global)?, sign, output).await,
        Command::Rotate(change) => rotate::rotate(&admin(global)?, change, output).await,
        Command::Taint(taint) => rotate::taint(&admin(global)?, taint, output).await,
        Command::Verify(_) | Command::Reconcile(_) | Command::Completions { .. } => Ok(()),
    }
}

fn completions(shell: clap_complete::Shell, output: &Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "hsmctl", &mut script);
    output.line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(())
}

fn client(global: &Global) -> Result<Client, Failure> {
    Ok(Client::connect(&options(global, &global.endpoint)?)?)
}

fn admin(global: &Global) -> Result<AdminClient, Failure> {
    Ok(AdminClient::connect(&options(global, &global.admin_endpoint)?)?)
}

/// A person wants to know at once what is wrong: nothing is retried.
fn options(global: &Global, endpoint: &str) -> Result<ConnectOptions, Failure> {
    let mut options = ConnectOptions::new(endpoint).deadline(global.timeout).retry(false);
    options.tls = match (&global.tls.ca_file, &global.tls.cert_file, &global.tls.key_file) {
        (Some(ca), Some(certificate), Some(key)) => Some(TlsOptions {
            ca_file: ca.clone(),
            certificate_file: certificate.clone(),
            key_file: key.clone(),
            server_name: global.tls.server_name.clone(),
        }),
        (None, None, None) => None,
        _ => {
            let message = "--ca-file, --cert-file and --key-file are given together or not at all";
            return Err(Failure::text(Kind::Usage, message));
        }
    };
    Ok(options)
}

fn now() -> Timestamp {
    Clock::system().now()
}

/// Reads a file, or standard input for "-".
fn read(path: &std::path::Path) -> Result<Vec<u8>, Failure> {
    read_at_most(path, usize::MAX - 1)
}

/// Reads a file, or standard input for "-": no more than one byte beyond `limit`.
fn read_at_most(path: &std::path::Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let limit = limit as u64 + 1;
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map(|_| bytes).map_err(|error| {
        Failure::text(Kind::Usage, format!("can't read {}: {error}", path.display()))
    })
}
