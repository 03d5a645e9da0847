//! `hsmd-app [--config FILE]`: an application behind Better Auth access tokens.

use std::process::ExitCode;

use hsmd_app::{Config, PROGRAM, check, run};

fn main() -> ExitCode {
    hsmd_runtime::run(PROGRAM, |config: &Config| &config.log, run, check)
}
