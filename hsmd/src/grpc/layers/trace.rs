//! Traces: a span for each call, continuing the caller's where it sent a `traceparent` (W3C Trace
//! Context).

use http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The span of a call; disabled, at the cost of one comparison, where traces go nowhere.
pub fn span(method: &'static str, request_id: &str, headers: &HeaderMap) -> Span {
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
        let parent = TraceContextPropagator::new().extract(&Headers(headers));
        if let Err(error) = span.set_parent(parent) {
            tracing::debug!(%error, "the caller's trace can't be continued");
        }
    }
    span
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
