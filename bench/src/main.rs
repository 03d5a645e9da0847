//! `hsmd-bench`: the raw PKCS#11 session and hsmd side by side, in one run, as ratios.
//!
//! The machine is shared and noisy, so nothing here is an absolute: every round measures every row
//! once, in turn, and what is printed is the median of the rounds with their spread, next to the same
//! median of the floor. Run it by `scripts/bench`, which builds the programs in release first.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measuring program prints its table, and stops when it can't measure"
)]

mod chain;
mod load;
mod raw;
mod report;
mod rounds;

use clap::{Parser, Subcommand};

/// Measures hsmd against the raw PKCS#11 session.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure everything and print a Markdown table, or JSON.
    Run {
        /// How many rounds.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// How long each row is measured in each round, in milliseconds.
        #[arg(long, default_value_t = 1000)]
        millis: u64,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// The raw session, in a process of its own: a PKCS#11 module is process-wide.
    #[command(hide = true)]
    Raw(raw::Arguments),
}

fn main() {
    match Arguments::parse().command {
        Command::Raw(arguments) => raw::serve(&arguments),
        Command::Run { rounds, millis, json } => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("an async runtime");
            let table = runtime.block_on(rounds::run(rounds, millis));
            if json {
                println!("{}", report::json(&table));
            } else {
                print!("{}", report::markdown(&table));
            }
        }
    }
}
