//! SoftHSM2 tokens for tests, demos and development: make one, look into it, arrange its keys.
//!
//! The module reads its configuration from the environment variable `SOFTHSM2_CONF`, once a process,
//! so all work on a token happens in a child process, the `hsmd-softhsm` command. [`Tool`] runs that
//! command; [`TokenFolder`] and [`Token`] are what it is made of. Production tokens are provisioned
//! with their vendor's tools, never with this crate.

mod error;
mod folder;
mod object;
mod pin;
mod token;
mod tool;

pub use error::Error;
pub use folder::TokenFolder;
pub use object::{Class, ObjectInfo, Selection};
pub use pin::read_pin;
pub use token::{Token, TokenInfo, provision};
pub use tool::Tool;

/// Where Debian installs the module.
pub const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
