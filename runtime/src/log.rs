//! Log output on standard error, set up once at the start.

use std::io::{IsTerminal as _, stderr};

use serde::Deserialize;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::ParseError, layer::SubscriberExt as _,
    registry::LookupSpan, util::SubscriberInitExt as _,
};

use crate::LogQueue;

/// `[log]`: log output on standard error.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// For people or for machines.
    pub format: LogFormat,
    /// In the syntax of tracing-subscriber's `EnvFilter`.
    pub filter: String,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line for each entry.
    Text,
    /// One JSON object for each entry.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info,sqlx=warn".into() }
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is malformed.
    #[error(transparent)]
    Filter(#[from] ParseError),
    /// The queue before standard error can't be made.
    #[error("cannot start the log's thread")]
    Queue(#[from] std::io::Error),
}

/// The lines as a layer, for a program that has other layers besides.
///
/// # Errors
/// [`LogError`].
pub fn log_lines<S>(config: &LogConfig) -> Result<impl Layer<S> + use<S>, LogError>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let filter = EnvFilter::try_new(&config.filter)?;
    let lines = tracing_subscriber::fmt::layer().with_writer(LogQueue::stderr()?);
    let lines = match config.format {
        LogFormat::Text => lines.with_ansi(stderr().is_terminal()).with_target(false).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    Ok(lines.with_filter(filter))
}

/// Sends this process' log to standard error. An earlier subscriber (in a test) stays.
///
/// # Errors
/// [`LogError`].
pub fn log_to_stderr(config: &LogConfig) -> Result<(), LogError> {
    if Registry::default().with(log_lines(config)?).try_init().is_err() {
        tracing::debug!("the log was set up before");
    }
    Ok(())
}
