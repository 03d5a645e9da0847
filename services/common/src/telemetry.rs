//! Log output on standard error, set up once at the start.

use std::io::stderr;

use tracing_subscriber::{EnvFilter, filter::ParseError, util::SubscriberInitExt};

use crate::config::{LogConfig, LogFormat};

/// Sends this process' log to standard error. An earlier subscriber (in a test) stays.
pub(crate) fn init(config: &LogConfig) -> Result<(), ParseError> {
    let filter = EnvFilter::try_new(&config.filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    let set = match config.format {
        LogFormat::Text => builder.with_ansi(false).finish().try_init(),
        LogFormat::Json => builder.json().finish().try_init(),
    };
    if set.is_err() {
        tracing::debug!("the log was set up before");
    }
    Ok(())
}
