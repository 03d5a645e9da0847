//! What our services need besides `hsmd-runtime`, and none should write again: hsmd, Redis and Postgres.
//!
//! [`Hsm`] is a service's view of hsmd, [`EndorsedKey`] its own key, [`EndorsedServers`] the other
//! servers' keys, judged by an [`EndorsementJudge`]; [`jwks`] shows keys to JOSE libraries, [`PublishedLog`] the log to
//! readers without gRPC, with entity tags ([`caching`]); [`Certificate`] is what hsmd is shown; [`config`] has the sections `[hsm]` and `[redis]`, [`check`] looks at both; `postgres`, a
//! feature, finds the server. Nothing here knows what a service does.

pub mod caching;
mod certificate;
pub mod check;
pub mod config;
mod endorsed_key;
mod hsm;
mod judged;
pub mod jwks;
#[cfg(feature = "postgres")]
pub mod postgres;
mod published_log;
pub mod random;
mod server_keys;

pub use certificate::Certificate;
pub use endorsed_key::{EndorsedKey, KeyLifetime};
pub use hsm::{Hsm, follow_log, log_problem};
pub use judged::{EndorsementJudge, Refused};
pub use published_log::PublishedLog;
pub use server_keys::EndorsedServers;
