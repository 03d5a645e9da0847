//! Client library of hsmd.
mod admin;
mod backoff;
mod call;
mod client;
mod clock;
mod connect;
mod endorser;
mod error;
mod verified_log;

pub use admin::{AdminClient, Rotated};
pub use client::{Client, Signed};
pub use clock::Clock;
pub use connect::{ConnectOptions, TlsOptions};
pub use endorser::{EndorseProblem, Endorsement, Endorser};
pub use error::{CallError, ConnectError};
pub use hsmd_chain as chain;
pub use hsmd_proto::v1 as proto;
pub use tonic::Code;
pub use verified_log::{
    CheckError, Halt, HttpLog, LogOptions, LogSource, OpenError, Problem, VerifiedLog,
};
