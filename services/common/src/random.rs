//! The operating system's randomness. If it has none there are no keys and no nonces, and the caller
//! panics.

use getrandom::SysRng;
use hsmd_chain::cesr::Nonce;
use hsmd_protocol::PrivateKey;
use rand_core::{Rng as _, UnwrapErr};

/// A fresh nonce.
#[must_use]
pub fn nonce() -> Nonce {
    let mut bytes = [0_u8; 16];
    UnwrapErr(SysRng).fill_bytes(&mut bytes);
    Nonce::from_bytes(bytes)
}

/// A fresh key, for a server that keeps it in memory.
#[must_use]
pub fn key() -> PrivateKey {
    PrivateKey::generate(&mut UnwrapErr(SysRng))
}
