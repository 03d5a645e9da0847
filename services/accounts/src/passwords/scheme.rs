//! The two forms of stored hashes: Argon2id as a PHC string, which is made, and the library's scrypt,
//! which is only verified.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64ct::{Base64Unpadded, Encoding as _};
use scrypt::scrypt;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::HasherCounts;
use crate::random;

/// The library's settings: N = 2^14, r = 16, p = 1, 64 bytes.
const SCRYPT: (u8, u32, u32, usize) = (14, 16, 1, 64);

/// How much work Argon2id is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Argon2Settings {
    pub(crate) memory_kib: u32,
    pub(crate) iterations: u32,
    pub(crate) parallelism: u32,
}

/// What one thread needs to hash: Argon2id's memory, taken once.
pub(crate) struct Scratch {
    settings: Argon2Settings,
    params: Params,
    memory: Vec<Block>,
    counts: HasherCounts,
}

/// A PHC string's parts.
struct Stored {
    settings: Argon2Settings,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

/// Of which form a stored hash is, and how much work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HashKind {
    Argon2(Argon2Settings),
    /// The library's.
    Scrypt,
}

impl HashKind {
    /// `None` for a damaged hash.
    pub(super) fn of(stored: &str) -> Option<Self> {
        match stored.starts_with('$') {
            true => Some(Self::Argon2(parse(stored)?.settings)),
            false => Some(Self::Scrypt),
        }
    }

    /// By a PHC string's settings. There are none in a hash of the library's.
    pub(crate) fn named(settings: &str) -> Option<Self> {
        match settings {
            "" => Some(Self::Scrypt),
            settings => Argon2Settings::parse(settings).map(Self::Argon2),
        }
    }
}

impl Scratch {
    /// Fails if Argon2id has no such settings.
    pub(crate) fn new(
        settings: Argon2Settings,
        counts: HasherCounts,
    ) -> Result<Self, argon2::Error> {
        let params = settings.params()?;
        let memory = vec![Block::new(); params.block_count()];
        Ok(Self { settings, params, memory, counts })
    }

    /// A new hash with a new salt.
    pub(crate) fn hash(&mut self, password: &[u8]) -> String {
        let random = random::secret();
        let salt = &random[..16];
        let (settings, params) = (self.settings, self.params.clone());
        let Some(hash) = self.argon2(params, password, salt, 32) else {
            // The settings were accepted at the start, and salt and length are fixed.
            unreachable!("Argon2id refuses its own settings")
        };
        let Argon2Settings { memory_kib, iterations, parallelism } = settings;
        let (salt, hash) =
            (Base64Unpadded::encode_string(salt), Base64Unpadded::encode_string(&hash));
        format!("$argon2id$v=19$m={memory_kib},t={iterations},p={parallelism}${salt}${hash}")
    }

    /// What [`hash`](Self::hash) makes.
    pub(super) fn current(&self) -> HashKind {
        HashKind::Argon2(self.settings)
    }

    /// Compares a password with a stored hash; the work is that of the hash's kind.
    pub(super) fn verify(&mut self, stored: &str, password: &[u8]) -> bool {
        match HashKind::of(stored) {
            Some(HashKind::Scrypt) => self.verify_scrypt(stored, password),
            Some(HashKind::Argon2(_)) | None => self.verify_argon2(stored, password),
        }
    }

    /// The work of a hash, for nothing.
    pub(super) fn spend(&mut self, kind: HashKind, password: &[u8]) {
        match kind {
            HashKind::Scrypt => drop(self.scrypt(password, b"00000000000000000000000000000000")),
            HashKind::Argon2(settings) => {
                if let Ok(params) = settings.params() {
                    drop(self.argon2(params, password, &[0; 16], 32));
                }
            }
        }
    }

    fn verify_argon2(&mut self, stored: &str, password: &[u8]) -> bool {
        let parsed = parse(stored).and_then(|it| it.settings.params().ok().map(|p| (it, p)));
        let Some((stored, params)) = parsed else {
            // A damaged hash costs what a good one does.
            drop(self.hash(password));
            return false;
        };
        let hash = self.argon2(params, password, &stored.salt, stored.hash.len());
        hash.is_some_and(|hash| hash.ct_eq(&stored.hash).into())
    }

    fn verify_scrypt(&mut self, stored: &str, password: &[u8]) -> bool {
        let (salt, key) = stored.split_once(':').unwrap_or((stored, ""));
        let expected = base16(key);
        let hash = self.scrypt(password, salt.as_bytes());
        expected.is_some_and(|expected| hash.ct_eq(&expected).into())
    }

    fn argon2(
        &mut self,
        params: Params,
        password: &[u8],
        salt: &[u8],
        length: usize,
    ) -> Option<Zeroizing<Vec<u8>>> {
        self.counts.argon2.inc();
        let blocks = params.block_count();
        if self.memory.len() < blocks {
            self.memory.resize(blocks, Block::new());
        }
        let mut hash = Zeroizing::new(vec![0; length]);
        let memory = self.memory.get_mut(..blocks)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into_with_memory(password, salt, &mut hash, memory).ok()?;
        Some(hash)
    }

    /// Of 64 bytes; all zero, which is the hash of nothing, if scrypt refuses.
    fn scrypt(&mut self, password: &[u8], salt: &[u8]) -> Zeroizing<Vec<u8>> {
        self.counts.scrypt.inc();
        let (log_n, r, p, length) = SCRYPT;
        let mut hash = Zeroizing::new(vec![0; length]);
        let computed = scrypt::Params::new(log_n, r, p)
            .ok()
            .and_then(|params| scrypt(password, salt, &params, &mut hash).ok());
        if computed.is_none() {
            hash.clear();
        }
        hash
    }
}

impl Argon2Settings {
    fn params(self) -> Result<Params, argon2::Error> {
        Params::new(self.memory_kib, self.iterations, self.parallelism, None)
    }

    /// `m=…,t=…,p=…`, within bounds that no foreign text can blow up.
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(',').zip(["m=", "t=", "p="]);
        let mut number =
            || numbers.next().and_then(|(part, name)| part.strip_prefix(name)?.parse().ok());
        let (memory_kib, iterations, parallelism) = (number()?, number()?, number()?);
        let bounded = memory_kib <= 1 << 20 && iterations <= 64 && parallelism <= 64;
        bounded.then_some(Self { memory_kib, iterations, parallelism })
    }
}

/// `$argon2id$v=19$<settings>$<salt>$<hash>`.
fn parse(text: &str) -> Option<Stored> {
    let mut parts = text.strip_prefix("$argon2id$v=19$")?.split('$');
    let (settings, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let settings = Argon2Settings::parse(settings)?;
    let salt = Base64Unpadded::decode_vec(salt).ok()?;
    let hash = Base64Unpadded::decode_vec(hash).ok()?;
    let sizes = (8..=64).contains(&salt.len()) && (16..=64).contains(&hash.len());
    sizes.then_some(Stored { settings, salt, hash })
}

fn base16(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|digit| digit.to_digit(16)?.try_into().ok()).collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    (pairs.remainder().is_empty() && digits.len() == 2 * SCRYPT.3)
        .then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}
