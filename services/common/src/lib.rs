//! What every HTTP service around hsmd needs and none should write again: strict configuration, the
//! way from `main` to a running server and back, health routes, CORS.
//!
//! A service's `main` is [`run`] with a function that takes its parsed configuration and a
//! [`Shutdown`]. [`Hsm`] is its view of hsmd, [`EndorsedKey`] its own key, [`EndorsedServers`] the
//! other servers' keys; [`serve`] and [`Health`] its face. Nothing here knows what a service does.

pub mod config;
mod cors;
mod endorsed_key;
mod health;
mod hsm;
mod http;
pub mod random;
mod server_keys;
mod shutdown;
mod start;
mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;

pub use cors::cors;
pub use endorsed_key::{EndorsedKey, KeyLifetime};
pub use health::Health;
pub use hsm::{Hsm, log_problem};
pub use http::{ServeOptions, bind, serve};
pub use server_keys::EndorsedServers;
pub use shutdown::{Shutdown, Trigger};
pub use start::{StartError, run};
