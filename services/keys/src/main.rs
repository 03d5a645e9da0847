//! `hsmd-keys [--config FILE]`: serves the key log and endorsed keys over HTTP.

use std::process::ExitCode;

use hsmd_keys::{Config, PROGRAM, check, run};

fn main() -> ExitCode {
    hsmd_runtime::run(PROGRAM, |config: &Config| &config.log, run, check)
}
