//! What every program here needs and none should write again. Nothing in it knows HTTP, gRPC or a database,
//! and only [`dial`] an async runtime: `hsmd-runtime` builds on it for programs that serve.
//!
//! - [`chain`]: an error with its causes in one line, for logs and, by [`report`], for people.
//! - [`secret`]: files that hold secrets, refused when others may read them.
//! - [`durable`]: small files that survive a power cut.
//! - [`Watched`]: a value made from files, made again when they change; [`tls`] reads PEM files.
//! - [`duration`] and [`size`]: settings like `"12h"` and `"64KiB"`.
//! - [`postgres`]: database URLs, as text. [`proxy`]: clients' addresses behind proxies. [`RateLimit`].
//! - [`dial`]: connections to names with several addresses.
//! - [`cli`]: arguments, manual pages, completions. [`Report`]: what a `check` found.
//! - [`unix_millis`]: the machine's clock.

mod chain;
#[cfg(feature = "cli")]
pub mod cli;
mod clock;
#[cfg(feature = "dial")]
mod dial;
pub mod durable;
pub mod postgres;
pub mod proxy;
mod rate_limit;
mod report;
pub mod secret;
mod setting;
#[cfg(feature = "tls")]
pub mod tls;
mod watched;

pub use chain::{chain, report};
pub use clock::unix_millis;
#[cfg(feature = "dial")]
pub use dial::dial;
pub use rate_limit::RateLimit;
pub use report::Report;
pub use secret::SecretError;
pub use setting::{duration, size};
pub use watched::Watched;
