//! The PKCS#11 token: everything that names cryptoki.
//!
//! A [`Token`](session::OpenToken) is one logged-in session and what can be asked of it; `module`
//! loads PKCS#11 modules and initialises them, `pin` guards the login, `inventory` lists our keys.
//! Nothing here is async and nothing here locks: one thread owns the session (see `signer`).

pub mod class;
mod data;
pub mod error;
mod generate;
pub mod inventory;
pub mod keys;
pub mod module;
mod object;
pub mod pin;
mod record_pairs;
pub mod session;
mod slots;
mod trial;

use std::path::Path;

use sha2::{Digest as _, Sha256};

pub use class::Class;
pub use data::Handles;
pub use error::TokenError;
pub use inventory::{Inventory, Pair};
pub use keys::KeyHandle;
pub use module::Modules;
pub use session::OpenToken;
pub use trial::random_id;

/// A short name for one token of one module, for files that are kept about it: serial numbers and labels
/// alone are not unique.
pub fn token_key(module: &Path, label: &str, serial: &str) -> String {
    let mut digest = Sha256::new();
    for part in [module.as_os_str().as_encoded_bytes(), label.as_bytes(), serial.as_bytes()] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
