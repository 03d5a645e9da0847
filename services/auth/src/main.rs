//! `hsmd-auth [--config FILE]`: Better Auth accounts, devices and sessions over HTTP.

use std::process::ExitCode;

use hsmd_auth::{Config, run};

fn main() -> ExitCode {
    hsmd_service::run("/etc/hsmd/auth.toml", |config: &Config| &config.log, run)
}
