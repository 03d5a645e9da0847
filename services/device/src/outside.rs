//! The outside world's clock and randomness, handed in from here and read nowhere else.

use std::time::{SystemTime, UNIX_EPOCH};

use getrandom::SysRng;
use hsmd_chain::{cesr::Nonce, time::Timestamp};
use rand_core::{CryptoRng, Rng as _, UnwrapErr};

/// Now, in whole milliseconds.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_millis(millis).unwrap_or(Timestamp::MAX)
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
