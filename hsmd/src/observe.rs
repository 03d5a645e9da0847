//! What an operator sees of the running daemon: log and traces, metrics, and the HTTP endpoint for
//! both metrics and health.

pub mod http;
pub mod metrics;
pub mod telemetry;
