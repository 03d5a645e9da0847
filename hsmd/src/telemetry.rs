//! Logs: structured, on standard error, never a secret and never a payload.

use std::io::{IsTerminal, Write};

use tracing_subscriber::EnvFilter;

use crate::commands::CommandError;
use crate::config::{LogConfig, LogFormat};

/// Starts logging.
///
/// # Errors
/// The filter is malformed.
pub fn start(config: &LogConfig) -> Result<(), CommandError> {
    let filter = EnvFilter::try_new(&config.filter)
        .map_err(|error| CommandError::LogFilter(error.to_string()))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.format {
        LogFormat::Text => {
            builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init()
        }
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| CommandError::LogFilter(error.to_string()))
}

/// Says one line to the operator, on standard error.
pub fn say(line: &str) {
    // When standard error is closed there is nobody to tell.
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// Writes a command's result to standard output.
///
/// # Errors
/// Standard output is closed or full.
pub fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
