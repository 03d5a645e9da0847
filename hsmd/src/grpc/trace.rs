//! Traces: a span for each call, continuing the caller's where it sent a `traceparent` (W3C Trace
//! Context).

use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::metadata::{KeyRef, MetadataMap};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The span of a call; disabled, at the cost of one comparison, where traces go nowhere.
pub(super) fn span(method: &'static str, request_id: &str, metadata: &MetadataMap) -> Span {
    let span = tracing::trace_span!(
        target: "hsmd::trace",
        "call",
        otel.name = method,
        otel.kind = "server",
        rpc.system = "grpc",
        request_id,
        caller = tracing::field::Empty,
        rpc.grpc.status = tracing::field::Empty,
    );
    if !span.is_disabled() {
        let parent = TraceContextPropagator::new().extract(&Headers(metadata));
        if let Err(error) = span.set_parent(parent) {
            tracing::debug!(%error, "the caller's trace can't be continued");
        }
    }
    span
}

struct Headers<'a>(&'a MetadataMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0
            .keys()
            .filter_map(|key| match key {
                KeyRef::Ascii(key) => Some(key.as_str()),
                KeyRef::Binary(_) => None,
            })
            .collect()
    }
}
