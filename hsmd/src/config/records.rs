//! `[audit]`, `[trace]` and `[observe]`: audit records, traces and metrics, and where they go.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// Audit records: one JSON object a line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "AuditSection")]
pub struct AuditConfig {
    /// Where they go.
    pub sink: AuditSink,
    /// Whether each signature of Sign and SignBatch has one; an endorsement always has.
    pub signatures: bool,
}

/// Where audit records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditSink {
    /// Standard error, which systemd keeps in the journal.
    Stderr,
    /// Standard output.
    Stdout,
    /// A file, rotated when it is full.
    File {
        /// The file; older ones are beside it with the endings .1, .2 and so on.
        file: PathBuf,
        /// How large it grows, in bytes.
        max_bytes: u64,
        /// How many older ones are kept.
        keep: u32,
    },
}

/// `[audit]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditSection {
    #[serde(default)]
    sink: SinkName,
    file: Option<PathBuf>,
    max_bytes: Option<u64>,
    keep: Option<u32>,
    #[serde(default)]
    signatures: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SinkName {
    #[default]
    Stderr,
    Stdout,
    File,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { sink: AuditSink::Stderr, signatures: false }
    }
}

impl TryFrom<AuditSection> for AuditConfig {
    type Error = &'static str;

    fn try_from(section: AuditSection) -> Result<Self, Self::Error> {
        let AuditSection { sink, file, max_bytes, keep, signatures } = section;
        let sink = match (sink, file) {
            (SinkName::File, Some(file)) => AuditSink::File {
                file,
                max_bytes: max_bytes.unwrap_or(64 * 1024 * 1024),
                keep: keep.unwrap_or(8),
            },
            (SinkName::File, None) => return Err("audit.file is missing for sink = \"file\""),
            _ if max_bytes.is_some() || keep.is_some() => {
                return Err("audit.max_bytes and audit.keep are for sink = \"file\" only");
            }
            (_, Some(_)) => return Err("audit.file is for sink = \"file\" only"),
            (SinkName::Stderr, None) => AuditSink::Stderr,
            (SinkName::Stdout, None) => AuditSink::Stdout,
        };
        Ok(Self { sink, signatures })
    }
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

fn everything() -> f64 {
    1.0
}
