//! What every program here that serves needs and none should write again: the way from `main` to a
//! running server and back. `hsmd-support` has what programs need that do not serve.
//!
//! A service's `main` is [`run`] with its [`Program`] and a function that takes its parsed
//! configuration and a [`Shutdown`]. [`bind`] and [`serve`] are its HTTP listener,
//! [`Socket`] and [`serve_users`] one for some of this machine's users, [`Health`] answers
//! `/live`, `/ready` and `/health`, also on a listener of their own ([`Probes`]), [`Metrics`] answers `/metrics`. Nothing here knows what a service
//! does.

mod config;
mod cors;
mod health;
mod http;
mod log;
mod log_limit;
mod log_queue;
mod metrics;
mod places;
mod probes;
mod relay;
mod shutdown;
mod socket;
mod start;
mod users;

pub use config::{ConfigError, load, parse};
pub use cors::cors;
pub use health::Health;
pub use http::{HttpConfig, ServeOptions, WhenFull, bind, client_address, serve};
pub use log::{LogConfig, LogError, LogFormat, log_lines, log_to_stderr};
pub use log_limit::LogLimit;
pub use log_queue::{LogQueue, flush_log, is_journal};
pub use metrics::{Metrics, metrics_text};
pub use probes::Probes;
pub use relay::{offer, relay};
pub use shutdown::{Shutdown, Trigger};
pub use socket::{BindError, Socket, SocketFile, bind_tcp};
pub use start::{Program, StartError, end, harden, run};
pub use users::serve_users;
