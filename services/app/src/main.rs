//! `hsmd-app [--config FILE]`: an application behind Better Auth access tokens.

use std::process::ExitCode;

use hsmd_app::{Config, run};

fn main() -> ExitCode {
    hsmd_service::run("/etc/hsmd/app.toml", |config: &Config| &config.log, run)
}
