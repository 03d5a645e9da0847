//! `hsmctl`, the command line of hsmd: what an operator does.

mod args;
mod commands;
mod failure;
mod output;

use std::process::ExitCode;

use hsmd_support::cli;

use crate::args::Cli;
use crate::failure::Failure;
use crate::output::{Output, escaped};

fn main() -> ExitCode {
    let cli: Cli = match cli::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let output = Output::new(cli.global.output);
    match commands::run(&cli, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

#[expect(clippy::print_stderr, reason = "the one place that tells a person what went wrong")]
fn report(failure: &Failure) -> ExitCode {
    let text = failure.report();
    if !text.is_empty() {
        // A file or a daemon may have put its own words into the message.
        eprintln!("{}", escaped(&text, false));
    }
    failure.exit_code()
}
