//! A user's device on the command line: walks the Better Auth protocol against running services.

mod arguments;
mod commands;
mod device;
mod error;
mod http;
mod outside;
mod secret;
mod state;
mod trust;

use std::{io::Write as _, process::ExitCode};

use clap::Parser as _;

use crate::{arguments::Arguments, error::report};

/// Exit code for bad usage (EX_USAGE).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let wanted = !error.use_stderr();
            // Where standard error or output is closed there is nobody to tell.
            let _told = error.print();
            return if wanted { ExitCode::SUCCESS } else { ExitCode::from(USAGE) };
        }
    };
    let outcome = commands::run(arguments).and_then(|answer| {
        writeln!(std::io::stdout(), "{answer}").map_err(error::DeviceError::Output)
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _told = writeln!(std::io::stderr(), "{}", report(&error));
            ExitCode::FAILURE
        }
    }
}
