//! The PKCS#11 token: everything that names cryptoki.
//!
//! A [`Token`](session::OpenToken) is one logged-in session and what can be asked of it; `module`
//! loads PKCS#11 modules and initialises them, `pin` guards the login, `inventory` lists our keys.
//! Nothing here is async and nothing here locks: one thread owns the session (see `signer`).

pub mod class;
pub mod error;
pub mod inventory;
pub mod keys;
pub mod module;
pub mod pin;
pub mod session;

pub use class::Class;
pub use error::TokenError;
pub use inventory::{Inventory, Pair};
pub use keys::KeyHandle;
pub use module::Modules;
pub use session::OpenToken;
