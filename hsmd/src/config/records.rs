//! `[audit]`, `[trace]` and `[observe]`: audit records, traces and metrics, and where they go.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// Where audit records go: one JSON object a line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, tag = "sink", rename_all = "lowercase")]
pub enum AuditConfig {
    /// Standard error, which systemd keeps in the journal.
    #[default]
    Stderr,
    /// Standard output.
    Stdout,
    /// A file, rotated when it is full.
    File {
        /// The file; older ones are beside it with the endings .1, .2 and so on.
        file: PathBuf,
        /// How large it grows, in bytes.
        #[serde(default = "max_bytes")]
        max_bytes: u64,
        /// How many older ones are kept.
        #[serde(default = "keep")]
        keep: u32,
    },
}

/// Where traces go: an OpenTelemetry collector.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceConfig {
    /// The collector's OTLP endpoint over gRPC, like "http://127.0.0.1:4317".
    pub endpoint: String,
    /// The share of calls that are traced, 0 to 1, where the caller has not decided that.
    #[serde(default = "everything")]
    pub ratio: f64,
}

/// Metrics and health over HTTP, for the machine itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObserveConfig {
    /// Where to listen. Anything but loopback must be meant.
    pub address: SocketAddr,
}

fn max_bytes() -> u64 {
    64 * 1024 * 1024
}

fn everything() -> f64 {
    1.0
}

fn keep() -> u32 {
    8
}
