//! `hsmd-keys [--config FILE]`: serves the key log and endorsed keys over HTTP.

use std::process::ExitCode;

use hsmd_keys::{Config, run};

fn main() -> ExitCode {
    hsmd_service::run("/etc/hsmd/keys.toml", |config: &Config| &config.log, run)
}
