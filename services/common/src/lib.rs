//! What every HTTP service around hsmd needs and none should write again: strict configuration, the
//! way from `main` to a running server and back, health routes, CORS.
//!
//! A service's `main` is [`run`] with a function that takes its parsed configuration and a
//! [`Shutdown`]. Nothing here knows what a service does.

pub mod config;
mod cors;
mod health;
mod http;
mod shutdown;
mod start;
mod telemetry;

pub use cors::cors;
pub use health::Health;
pub use http::{ServeOptions, serve};
pub use shutdown::Shutdown;
pub use start::{StartError, run};
