//! `hsmd-gateway [--config FILE]`: HTTP and JSON before hsmd's gRPC, beside one service.

use std::process::ExitCode;

use hsmd_gateway::{Config, PROGRAM, check, run};

fn main() -> ExitCode {
    hsmd_runtime::run(PROGRAM, |config: &Config| &config.log, run, check)
}
