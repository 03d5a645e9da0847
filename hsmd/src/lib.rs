//! hsmd: a signing daemon that keeps a fleet's root of trust inside a hardware security module.
//!
//! A call goes `grpc` (decode, bounds) → `authz` (who, may they) → `signer` (queue, active generation)
//! → `token` (one session, one mutex) → reply. An admin's call goes `grpc` → `authz` → `rotation`
//! (the steps) → `token`, `journal` and `keylog` (Postgres) → reply, and watchers are told.
//!
//! This library is the daemon's own; its callers are `main` and the benchmarks.

pub mod audit;
pub mod authz;
pub mod clock;
pub mod commands;
pub mod config;
pub mod daemon;
pub mod durable;
pub mod failpoint;
pub mod grpc;
pub mod journal;
pub mod keylog;
pub mod observe;
pub mod rotation;
pub mod signer;
pub mod startup;
pub mod token;
