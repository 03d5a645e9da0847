//! hsmd: a signing daemon that keeps a fleet's root of trust inside a hardware security module.
//!
//! A call goes `grpc` (layers, services) → `authz` (who, may they) → `signer` (queue, active generation)
//! → `token` (one session, one thread) → reply. An admin request goes `grpc` → `authz` → `rotation`
//! (the steps) → `token`, `journal` and `keylog` (Postgres) → reply, and watchers are notified.
//!
//! The components are private; what is public is for `main`, and the parsers for the fuzz targets.

mod audit;
mod authz;
mod clock;
mod commands;
mod config;
mod daemon;
mod failpoint;
mod grpc;
mod journal;
mod keylog;
mod observe;
mod ownership;
mod rotation;
mod signer;
mod startup;
mod token;

pub use commands::cli::{Arguments, Command};
pub use commands::{CommandError, run};
pub use config::Config;
#[cfg(feature = "failpoints")]
pub use failpoint::arm as arm_failpoints;
pub use observe::telemetry::{say, start as start_telemetry};

/// The parsers of what comes from outside, for the fuzz targets.
pub mod parsers {
    pub use crate::config::{is_reserved, well_formed};
    pub use crate::grpc::document;
    pub use crate::journal::{decode as journal, encode as write_journal};
}
