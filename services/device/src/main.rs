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

use hsmd_support::{cli, report};

use crate::arguments::Arguments;

fn main() -> ExitCode {
    let arguments = match cli::parse::<Arguments>() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let outcome = commands::run(arguments).and_then(|answer| {
        writeln!(std::io::stdout(), "{answer}").map_err(error::DeviceError::Output)
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report("hsmd-device", &error);
            ExitCode::FAILURE
        }
    }
}
