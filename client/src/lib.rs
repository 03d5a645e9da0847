//! Client library of hsmd, the daemon that signs with an HSM's key.
//!
//! A service needs two things of it: [`VerifiedLog`] follows and verifies the HSM's key log and
//! answers whether an endorsement is valid now; [`Endorser`] keeps the service's own key endorsed,
//! through rotations and taints, without a restart, and signs JWTs with it. Complete (`examples/service.rs`):
//!
//! ```no_run
#![doc = include_str!("../examples/service.rs")]
//! ```
//!
//! Where the daemon can't be reached, the log may come from the keys service instead:
//! [`LogSource::Http`], which says what that is worth.
//!
//! [`Client`] and [`AdminClient`] are the plain calls, with deadlines, retries where a second call
//! does no harm, and typed errors ([`CallError`]) that say what to do. They verify nothing.
//!
//! Trust begins with an [`Anchor`](chain::Anchor), the HSM's identity, which must come from
//! somewhere else than the daemon. Everything else proves itself. The library reads no environment,
//! writes no file but the one it is given, and makes no keys.

mod admin;
mod backoff;
mod call;
mod client;
mod clock;
mod connect;
mod connection;
mod endorser;
mod error;
mod signed;
mod tls;
mod verified_log;

pub use admin::{AdminClient, Rotated};
pub use client::Client;
pub use clock::Clock;
pub use connect::{ConnectOptions, TlsOptions};
pub use endorser::{EndorseProblem, Endorsement, Endorser, TokenError};
pub use error::{CallError, ConnectError, TransportError};
pub use hsmd_chain as chain;
pub use hsmd_proto::v1 as proto;
pub use signed::Signed;
pub use tonic::Code;
pub use verified_log::{
    CheckError, HttpLog, LogOptions, LogSource, OpenError, Problem, TerminalError, VerifiedLog,
};
