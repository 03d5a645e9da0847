//! `hsmd-auth [--config FILE]`: Better Auth accounts, devices and sessions over HTTP.

use std::process::ExitCode;

use hsmd_auth::{Config, PROGRAM, check, run};

fn main() -> ExitCode {
    hsmd_runtime::run(PROGRAM, |config: &Config| &config.log, run, check)
}
