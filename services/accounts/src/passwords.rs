//! Passwords: which are accepted, and how they are hashed and checked.

mod hasher;
mod scheme;

use std::net::IpAddr;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

pub(crate) use hasher::{Hasher, HasherCounts, Scratch};
pub(crate) use scheme::{Argon2Settings, is_scrypt};
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

use crate::error::{ApiError, PASSWORD_TOO_LONG, PASSWORD_TOO_SHORT, Refusal};

/// The shortest and the longest password, in UTF-16 units, before normalization.
const SHORTEST: usize = 8;
const LONGEST: usize = 128;

/// A password in the form that is hashed: NFKC, of a bounded length.
#[derive(Clone)]
pub(crate) struct Password(Zeroizing<String>);

impl Password {
    /// A new password, which must have the right length.
    pub(crate) fn new(text: &str) -> Result<Self, Refusal> {
        if text.encode_utf16().take(SHORTEST).count() < SHORTEST {
            return Err(PASSWORD_TOO_SHORT);
        }
        Self::submitted(text)
    }

    /// One that is to be compared: it may be shorter than any that was ever accepted.
    pub(crate) fn submitted(text: &str) -> Result<Self, Refusal> {
        if text.encode_utf16().take(LONGEST + 1).count() > LONGEST {
            return Err(PASSWORD_TOO_LONG);
        }
        Ok(Self(Zeroizing::new(text.nfkc().collect())))
    }

    fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// What comparing a password with a stored hash gave.
pub(crate) struct Checked {
    pub(crate) matches: bool,
    /// The hash that should replace the stored one, which is of an older kind.
    pub(crate) replacement: Option<String>,
}

/// Hashes and checks passwords, on threads of its own. Clones share them.
#[derive(Clone)]
pub(crate) struct Passwords {
    hasher: Hasher,
    /// Whether any user still has the library's scrypt hash.
    scrypt: Arc<AtomicBool>,
}

impl Passwords {
    pub(crate) fn new(hasher: Hasher) -> Self {
        // Until the database has been asked.
        Self { hasher, scrypt: Arc::new(AtomicBool::new(true)) }
    }

    /// Says whether scrypt hashes remain.
    pub(crate) fn scrypt_remains(&self, remains: bool) {
        self.scrypt.store(remains, Ordering::Relaxed);
    }

    /// Hashes a new password.
    pub(crate) async fn hash(
        &self,
        network: IpAddr,
        password: Password,
    ) -> Result<String, ApiError> {
        self.hasher.run(network, move |scratch| scratch.hash(password.as_bytes())).await
    }

    /// Compares a password with a stored hash, or with nothing. Every refusal costs one hash of each kind
    /// that is in use, whether or not there is a user, and of whichever kind their hash is.
    pub(crate) async fn check(
        &self,
        network: IpAddr,
        password: Password,
        stored: Option<String>,
    ) -> Result<Checked, ApiError> {
        let scrypt = self.scrypt.load(Ordering::Relaxed);
        self.hasher
            .run(network, move |scratch| {
                check(scratch, password.as_bytes(), stored.as_deref(), scrypt)
            })
            .await
    }
}

fn check(scratch: &mut Scratch, password: &[u8], stored: Option<&str>, scrypt: bool) -> Checked {
    let stored_scrypt = stored.is_some_and(is_scrypt);
    let matches = match stored {
        Some(stored) if stored_scrypt => scratch.verify_scrypt(stored, password),
        Some(stored) => scratch.verify_argon2(stored, password),
        None => {
            scratch.hash(password);
            false
        }
    };
    if !matches {
        match stored_scrypt {
            true => drop(scratch.hash(password)),
            false if scrypt => scratch.spend_scrypt(password),
            false => {}
        }
    }
    let outdated = stored.is_some_and(|stored| !scratch.is_current(stored));
    Checked { matches, replacement: (matches && outdated).then(|| scratch.hash(password)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text).unwrap()
    }

    fn scratch() -> Scratch {
        with_counts(&HasherCounts::default())
    }

    fn with_counts(counts: &HasherCounts) -> Scratch {
        let settings = Argon2Settings { memory_kib: 64, iterations: 1, parallelism: 1 };
        Scratch::new(settings, counts.clone()).unwrap()
    }

    #[test]
    fn lengths_are_counted_in_utf16_units() {
        let refused = |text: &str| Password::new(text).err();
        assert_eq!(refused("1234567"), Some(PASSWORD_TOO_SHORT));
        assert_eq!(refused("12345678"), None);
        // Two units each.
        assert_eq!(refused(&"\u{1F600}".repeat(4)), None);
        assert_eq!(refused(&"\u{1F600}".repeat(64)), None);
        assert_eq!(refused(&"\u{1F600}".repeat(65)), Some(PASSWORD_TOO_LONG));
        assert_eq!(refused(&"x".repeat(128)), None);
        assert_eq!(refused(&"x".repeat(129)), Some(PASSWORD_TOO_LONG));
    }

    #[test]
    fn equal_after_normalization() {
        let mut scratch = scratch();
        let stored = scratch.hash(password("caf\u{e9} \u{fb01}ne").as_bytes());
        let same =
            check(&mut scratch, password("cafe\u{301} fine").as_bytes(), Some(&stored), false);
        assert!(same.matches && same.replacement.is_none());
        assert!(
            !check(&mut scratch, password("cafe fine").as_bytes(), Some(&stored), false).matches
        );
    }

    /// Made by the library: better-auth 1.7, `hashPassword("password1234")`.
    const LIBRARY: &str = include_str!("passwords/library.hash");

    #[test]
    fn the_librarys_hash_verifies_and_is_replaced() {
        let mut scratch = scratch();
        let good = check(&mut scratch, b"password1234", Some(LIBRARY.trim()), true);
        assert!(good.matches);
        let replacement = good.replacement.unwrap();
        assert!(replacement.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{replacement}");
        let again = check(&mut scratch, b"password1234", Some(&replacement), true);
        assert!(again.matches && again.replacement.is_none());
        assert!(!check(&mut scratch, b"password1235", Some(LIBRARY.trim()), true).matches);
    }

    /// The work of a refusal tells neither whether there is a user nor how their password is stored.
    #[test]
    fn each_refusal_costs_the_same() {
        let counts = HasherCounts::default();
        let mut scratch = with_counts(&counts);
        let stored = scratch.hash(b"something else");
        let spent = || (counts.argon2.get(), counts.scrypt.get());
        for scrypt in [true, false] {
            for stored in [None, Some(stored.as_str()), Some(LIBRARY.trim())] {
                let before = spent();
                let refused = check(&mut scratch, b"password1235", stored, scrypt);
                assert!(!refused.matches && refused.replacement.is_none());
                let one_scrypt = scrypt || stored == Some(LIBRARY.trim());
                let expected = (before.0 + 1, before.1 + u64::from(one_scrypt));
                assert_eq!(spent(), expected, "{stored:?}");
            }
        }
    }

    #[test]
    fn other_settings_are_replaced_and_garbage_matches_nothing() {
        let mut scratch = scratch();
        let settings = Argon2Settings { memory_kib: 128, iterations: 2, parallelism: 2 };
        let stored = Scratch::new(settings, HasherCounts::default()).unwrap().hash(b"password1234");
        let good = check(&mut scratch, b"password1234", Some(&stored), false);
        assert!(good.matches && good.replacement.is_some());
        for garbage in ["", "$", "$argon2id$v=19$m=64,t=1,p=1$AAAA$", ":", "aa:bb", "$argon2id$x"] {
            assert!(
                !check(&mut scratch, b"password1234", Some(garbage), false).matches,
                "{garbage}"
            );
        }
    }
}
