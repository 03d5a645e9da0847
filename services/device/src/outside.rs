//! The outside world's clock and randomness, handed in from here and read nowhere else.

use getrandom::SysRng;
use hsmd_chain::{cesr::Nonce, time::Timestamp};
use hsmd_support::unix_millis;
use rand_core::{CryptoRng, Rng as _, UnwrapErr};

/// Now, in whole milliseconds.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix_millis(unix_millis()).unwrap_or(Timestamp::MAX)
}

/// The operating system's randomness. If it has none there are no keys, and the program ends.
pub(crate) fn random() -> impl CryptoRng {
    UnwrapErr(SysRng)
}

/// A fresh nonce.
pub(crate) fn nonce() -> Nonce {
    let mut bytes = [0_u8; 16];
    random().fill_bytes(&mut bytes);
    Nonce::from_bytes(bytes)
}
