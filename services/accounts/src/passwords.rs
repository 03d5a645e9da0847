//! Passwords: which are accepted, and how they are hashed and checked.

mod hasher;
mod scheme;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use hasher::{Hasher, HasherCounts, Scratch};
pub(crate) use scheme::{Argon2Settings, HashKind};
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
    /// The kinds of hashes that users have, as far as is known. Held for a moment and never across an await.
    kinds: Arc<Mutex<Vec<HashKind>>>,
}

impl Passwords {
    pub(crate) fn new(hasher: Hasher) -> Self {
        // Until the database has been asked.
        Self { hasher, kinds: Arc::new(Mutex::new(vec![HashKind::Scrypt])) }
    }

    /// Says of which kinds the users' hashes are.
    pub(crate) fn in_use(&self, kinds: Vec<HashKind>) {
        *self.kinds() = kinds;
    }

    /// The kinds that a refusal costs, and this one from now on: hashes may have been imported since the
    /// database was asked.
    fn kinds_with(&self, kind: Option<HashKind>) -> Vec<HashKind> {
        let mut kinds = self.kinds();
        if let Some(kind) = kind
            && !kinds.contains(&kind)
        {
            kinds.push(kind);
        }
        kinds.clone()
    }

    fn kinds(&self) -> MutexGuard<'_, Vec<HashKind>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
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
        let kinds = self.kinds_with(stored.as_deref().and_then(HashKind::of));
        self.hasher
            .run(network, move |scratch| {
                check(scratch, password.as_bytes(), stored.as_deref(), &kinds)
            })
            .await
    }
}

fn check(
    scratch: &mut Scratch,
    password: &[u8],
    stored: Option<&str>,
    kinds: &[HashKind],
) -> Checked {
    let current = scratch.current();
    let matches = stored.is_some_and(|stored| scratch.verify(stored, password));
    let kind = stored.map(|stored| HashKind::of(stored).unwrap_or(current));
    if !matches {
        let others = kinds.iter().copied().filter(|kind| *kind != current);
        for other in others.chain([current]).filter(|other| Some(*other) != kind) {
            scratch.spend(other, password);
        }
    }
    let outdated = matches && stored.and_then(HashKind::of) != Some(current);
    Checked { matches, replacement: outdated.then(|| scratch.hash(password)) }
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
        let same = check(&mut scratch, password("cafe\u{301} fine").as_bytes(), Some(&stored), &[]);
        assert!(same.matches && same.replacement.is_none());
        assert!(!check(&mut scratch, password("cafe fine").as_bytes(), Some(&stored), &[]).matches);
    }

    /// Made by the library: better-auth 1.7, `hashPassword("password1234")`.
    const LIBRARY: &str = include_str!("passwords/library.hash");

    #[test]
    fn the_librarys_hash_verifies_and_is_replaced() {
        let mut scratch = scratch();
        let good = check(&mut scratch, b"password1234", Some(LIBRARY.trim()), &[HashKind::Scrypt]);
        assert!(good.matches);
        let replacement = good.replacement.unwrap();
        assert!(replacement.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{replacement}");
        let again = check(&mut scratch, b"password1234", Some(&replacement), &[HashKind::Scrypt]);
        assert!(again.matches && again.replacement.is_none());
        assert!(
            !check(&mut scratch, b"password1235", Some(LIBRARY.trim()), &[HashKind::Scrypt])
                .matches
        );
    }

    const OLDER: Argon2Settings = Argon2Settings { memory_kib: 128, iterations: 2, parallelism: 2 };

    /// The work of a refusal tells neither whether there is a user nor how their password is stored.
    #[test]
    fn each_refusal_costs_the_same() {
        let counts = HasherCounts::default();
        let mut scratch = with_counts(&counts);
        let stored = scratch.hash(b"something else");
        let older = Scratch::new(OLDER, HasherCounts::default()).unwrap().hash(b"something else");
        let spent = || (counts.argon2.get(), counts.scrypt.get());
        let (scrypt, other) = (HashKind::Scrypt, HashKind::Argon2(OLDER));
        for (kinds, argon2, scrypt) in [
            (&[scratch.current()][..], 1, 0),
            (&[scratch.current(), scrypt], 1, 1),
            (&[other], 2, 0),
            (&[other, scratch.current(), scrypt], 2, 1),
        ] {
            for stored in
                [None, Some(stored.as_str()), Some(LIBRARY.trim()), Some(&older), Some("$")]
            {
                let kind = stored.and_then(HashKind::of);
                if kind.is_some_and(|kind| kind != scratch.current() && !kinds.contains(&kind)) {
                    continue;
                }
                let before = spent();
                let refused = check(&mut scratch, b"password1235", stored, kinds);
                assert!(!refused.matches && refused.replacement.is_none());
                assert_eq!(spent(), (before.0 + argon2, before.1 + scrypt), "{stored:?} {kinds:?}");
            }
        }
    }

    /// The database is asked once a minute, and users may be imported at any time.
    #[tokio::test]
    async fn a_kind_that_was_met_is_spent_from_then_on() {
        let settings = Argon2Settings { memory_kib: 64, iterations: 1, parallelism: 1 };
        let hasher = Hasher::start(settings, None, 8).unwrap();
        let passwords = Passwords::new(hasher.clone());
        passwords.in_use(Vec::new());
        let older = Scratch::new(OLDER, HasherCounts::default()).unwrap().hash(b"something else");
        let network = [192, 0, 2, 1].into();
        for (stored, argon2, scrypt) in [
            (None, 1, 0),
            (Some(LIBRARY.trim().to_owned()), 1, 1),
            (None, 1, 1),
            (Some(older), 2, 1),
            (None, 2, 1),
        ] {
            let counts = hasher.counts();
            let before = (counts.argon2.get(), counts.scrypt.get());
            let checked = passwords.check(network, password("password1235"), stored).await;
            assert!(!checked.unwrap().matches);
            let after = (counts.argon2.get(), counts.scrypt.get());
            assert_eq!(after, (before.0 + argon2, before.1 + scrypt));
        }
    }

    #[test]
    fn other_settings_are_replaced_and_garbage_matches_nothing() {
        let mut scratch = scratch();
        let stored = Scratch::new(OLDER, HasherCounts::default()).unwrap().hash(b"password1234");
        let good = check(&mut scratch, b"password1234", Some(&stored), &[]);
        assert!(good.matches && good.replacement.is_some());
        for garbage in ["", "$", "$argon2id$v=19$m=64,t=1,p=1$AAAA$", ":", "aa:bb", "$argon2id$x"] {
            assert!(!check(&mut scratch, b"password1234", Some(garbage), &[]).matches, "{garbage}");
        }
    }
}
