//! Logs and traces: structured, never a secret and never a payload. Logs go to standard error; traces
//! go to an OpenTelemetry collector where one is configured, and cost nothing where none is.

use std::io::Write;
use std::time::Duration;

use hsmd_runtime::{LogError, flush_log, log_lines};
use hsmd_support::chain;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::commands::CommandError;
use crate::config::{LogConfig, TraceConfig};

/// The target of the spans that are exported; nothing else is.
pub const TRACE: &str = "hsmd::trace";

/// How long the end waits for a reader of standard error.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Keeps the exporter; dropping it sends what is left, and writes the last log lines.
#[derive(Debug, Default)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(traces) = &self.traces
            && let Err(error) = traces.shutdown_with_timeout(Duration::from_secs(2))
        {
            tracing::warn!(%error, "cannot send the last traces");
        }
        flush_log(FLUSH_TIMEOUT);
    }
}

/// Starts logging and, if configured, tracing; in the context of the async runtime.
///
/// # Errors
/// [`CommandError::LogFilter`], [`CommandError::Traces`]; [`CommandError::Refused`] where there can be no log.
pub fn start(log: &LogConfig, trace: Option<&TraceConfig>) -> Result<Telemetry, CommandError> {
    let lines = log_lines(log).map_err(|error| match error {
        LogError::Filter(error) => CommandError::LogFilter(error.to_string()),
        LogError::Queue(_) => CommandError::Refused(chain(&error)),
    })?;
    let traces = trace.map(provider).transpose()?;
    let spans = traces.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("hsmd"))
            .with_filter(Targets::new().with_target(TRACE, LevelFilter::TRACE))
    });
    tracing_subscriber::registry()
        .with(lines)
        .with(spans)
        .try_init()
        .map_err(|error| CommandError::Refused(chain(&error)))?;
    Ok(Telemetry { traces })
}

fn provider(config: &TraceConfig) -> Result<SdkTracerProvider, CommandError> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&config.endpoint)
        .build()
        .map_err(|error| CommandError::Traces(error.to_string()))?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.ratio)));
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(sampler)
        .with_resource(Resource::builder().with_service_name("hsmd").build())
        .build())
}

/// Writes one line to standard error.
pub fn say(line: &str) {
    // An error means that standard error is closed.
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
