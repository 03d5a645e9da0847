//! Identifiers and secrets from the operating system's randomness. If it has none, the caller panics:
//! there is no session without it.

use getrandom::SysRng;
use rand_core::{Rng as _, UnwrapErr};
use sha2::{Digest as _, Sha256};

const ALPHANUMERIC: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// 32 random bytes.
pub(crate) fn secret() -> [u8; 32] {
    let mut bytes = [0; 32];
    UnwrapErr(SysRng).fill_bytes(&mut bytes);
    bytes
}

/// A text of `length` random letters and digits, each value equally likely.
pub(crate) fn alphanumeric(length: usize) -> String {
    pick(ALPHANUMERIC, length)
}

/// As [`alphanumeric`], of digits and small letters only.
pub(crate) fn lower(length: usize) -> String {
    pick(&ALPHANUMERIC[26..], length)
}

/// What is stored of a secret.
pub(crate) fn hash(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

fn pick(alphabet: &[u8], length: usize) -> String {
    let fair = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(length);
    while text.len() < length {
        for byte in secret() {
            // A value above the last whole multiple would favour the first letters.
            if text.len() < length && usize::from(byte) < fair {
                text.push(char::from(alphabet[usize::from(byte) % alphabet.len()]));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_their_length_and_alphabet() {
        let (id, token) = (alphanumeric(32), lower(24));
        assert_eq!((id.len(), token.len()), (32, 24));
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert!(token.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
        let all: std::collections::BTreeSet<u8> = alphanumeric(8000).bytes().collect();
        assert_eq!(all.len(), 62, "every letter comes");
        assert_ne!(alphanumeric(32), alphanumeric(32));
    }
}
