//! `hsmd-bench`: the raw PKCS#11 session and hsmd side by side, in one run, as ratios.
//!
//! The machine is shared and noisy, so nothing here is an absolute: every round measures every row
//! once, in turn, and what is printed is the median of the rounds with their spread, next to the same
//! median of the floor. Run it by `scripts/bench`, which builds the programs in release first.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measuring program prints its tables, and stops when it can't measure"
)]

mod accounts;
mod admin;
mod chain;
mod cpu;
mod fleet;
mod floor;
mod life;
mod load;
mod paths;
mod peers;
mod raw;
mod report;
mod sample;
mod tls;
mod tokens;

use clap::{Parser, Subcommand, ValueEnum};

use report::Report;

/// Measures hsmd against the raw PKCS#11 session.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure, and print Markdown tables, or JSON.
    Run(Plan),
    /// The raw session, in a process of its own: a PKCS#11 module is process-wide.
    #[command(hide = true)]
    Raw(raw::Arguments),
}

/// What is measured, and how long.
#[derive(Debug, clap::Args)]
struct Plan {
    /// How many rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each row is measured in each round, in milliseconds.
    #[arg(long, default_value_t = 1000)]
    millis: u64,
    /// Measure only these parts.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Of these parts, measure only rows that contain this.
    #[arg(long, default_value = "")]
    row: String,
    /// Write the same as JSON to this file.
    #[arg(long)]
    json: Option<std::path::PathBuf>,
}

/// A part of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Sign, Endorse and SignBatch over the Unix socket and over mutual TLS.
    Paths,
    /// Slower devices.
    Latency,
    /// Tokens that hold many keys.
    Keys,
    /// A TPM, by swtpm.
    Tpm,
    /// Rotations and taints.
    Admin,
    /// Unknown peers, and records of signatures.
    Peers,
    /// Verification.
    Chain,
    /// A thousand callers before a slow device.
    Fleet,
    /// A long log and a long life.
    Life,
    /// The accounts service.
    Accounts,
}

fn main() {
    match Arguments::parse().command {
        Command::Raw(arguments) => raw::serve(&arguments),
        Command::Run(plan) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("an async runtime");
            let report = runtime.block_on(run(&plan));
            print!("{}", report.markdown());
            if let Some(path) = &plan.json {
                std::fs::write(path, report.json()).expect("a file for the JSON");
            }
        }
    }
}

async fn run(plan: &Plan) -> Report {
    let mut report = Report::default();
    let wanted = |part| plan.only.is_empty() || plan.only.contains(&part);
    if wanted(Part::Paths) {
        paths::plain(plan, &mut report).await;
    }
    if wanted(Part::Latency) {
        tokens::slow(plan, &mut report).await;
    }
    if wanted(Part::Keys) {
        tokens::crowded(plan, &mut report).await;
    }
    if wanted(Part::Tpm) {
        tokens::tpm(plan, &mut report).await;
    }
    if wanted(Part::Admin) {
        admin::measure(plan, &mut report).await;
    }
    if wanted(Part::Peers) {
        peers::measure_all(plan, &mut report).await;
    }
    if wanted(Part::Chain) {
        chain::measure(plan, &mut report);
    }
    if wanted(Part::Fleet) {
        fleet::measure(plan, &mut report).await;
    }
    if wanted(Part::Life) {
        life::measure(&mut report).await;
    }
    if wanted(Part::Accounts) {
        accounts::measure_all(plan, &mut report).await;
    }
    report
}
