//! `hsmctl`, the command line of hsmd: what an operator does.

mod args;
mod commands;
mod failure;
mod output;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::failure::Failure;
use crate::output::Output;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => return usage(&message),
    };
    let output = Output::new(cli.global.output);
    match commands::run(&cli, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

/// Help and version are answers, everything else is bad usage.
fn usage(message: &clap::Error) -> ExitCode {
    let printed = message.print();
    if message.use_stderr() {
        return ExitCode::from(64);
    }
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&Failure::from(error)),
    }
}

#[expect(clippy::print_stderr, reason = "the one place that tells a person what went wrong")]
fn report(failure: &Failure) -> ExitCode {
    let text = failure.report();
    if !text.is_empty() {
        eprintln!("{text}");
    }
    failure.exit_code()
}
