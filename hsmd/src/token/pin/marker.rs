//! The PIN marker: which PINs a token refused, and which one is being tried. No PIN stands in it, but
//! hashes that are slow to guess from: Argon2id, with a salt of the file's own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};

use super::state::PinState;
use crate::token::token_key;
use hsmd_support::durable;

/// As OWASP recommends where memory is dear: some 20 ms, which a session that is opened again can spare.
const MEMORY_KIB: u32 = 7 * 1024;
const PASSES: u32 = 5;

/// The hash of a PIN under a marker's salt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PinHash([u8; 32]);

/// What the marker file holds.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Marker {
    salt: [u8; 16],
    /// Refused by the token.
    refused: Vec<PinHash>,
    /// About to be tried, or tried with an outcome that was not heard.
    trying: Option<PinHash>,
    /// The state of the token in which it took no PIN, and the PIN that was tried then. The file's time
    /// says when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<(String, PinHash)>,
    /// Whether the file could not be understood: any PIN may have been tried.
    #[serde(skip)]
    damaged: bool,
}

impl Marker {
    /// Reads a marker; a new one where there is none.
    pub(super) fn read(path: &Path) -> std::io::Result<Self> {
        match std::fs::read(path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(marker) => Ok(marker),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "the PIN marker is damaged");
                    Ok(Self { damaged: true, ..Self::new()? })
                }
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::new(),
            Err(error) => Err(error),
        }
    }

    fn new() -> std::io::Result<Self> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|e| std::io::Error::other(e.to_string()))?;
        Ok(Self { salt, refused: Vec::new(), trying: None, state: None, damaged: false })
    }

    /// A PIN's hash, to be compared with this marker's.
    pub(super) fn hash(&self, pin: &[u8]) -> std::io::Result<PinHash> {
        let mut hash = [0; 32];
        let params = Params::new(MEMORY_KIB, PASSES, 1, Some(hash.len()));
        params
            .and_then(|params| {
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                argon2.hash_password_into(pin, &self.salt, &mut hash)
            })
            .map_err(|e| std::io::Error::other(e.to_string()))?;
        Ok(PinHash(hash))
    }

    /// Whether this PIN is not to be tried; `wrong_since`: whether the token says that a wrong PIN was
    /// entered since the last good one.
    pub(super) fn forbids(&self, hash: &PinHash, wrong_since: bool) -> bool {
        let unheard = self.damaged || self.trying.as_ref() == Some(hash);
        self.refused.contains(hash) || (unheard && wrong_since)
    }

    /// Notes that this PIN is about to be tried.
    pub(super) fn note_try(&mut self, hash: PinHash) {
        self.trying = Some(hash);
    }

    /// Notes that the token refused the PIN that was tried.
    pub(super) fn note_refusal(&mut self) {
        self.refused.extend(self.trying.take());
    }

    /// Notes that the token took no PIN, with its return code.
    pub(super) fn note_state(&mut self, code: String) {
        self.state = self.trying.take().map(|tried| (code, tried));
    }

    /// The state in which the token took no PIN, and for how much longer no login is tried.
    pub(super) fn waits(
        &self,
        hash: &PinHash,
        path: &Path,
    ) -> std::io::Result<Option<(String, Duration)>> {
        let Some((code, tried)) = &self.state else { return Ok(None) };
        let state = PinState::named(code);
        if state.is_the_pins_own() && tried != hash {
            return Ok(None);
        }
        let written = std::fs::metadata(path)?.modified()?;
        // A file from the future was written by a clock that has been put back: it is as old as none.
        let age = written.elapsed().unwrap_or(state.delay());
        let left = state.delay().saturating_sub(age);
        Ok((!left.is_zero()).then(|| (code.clone(), left)))
    }

    /// Writes it durably, for its owner alone.
    pub(super) fn write(&self, path: &Path) -> std::io::Result<()> {
        durable::write(path, &serde_json::to_vec(self)?)
    }
}

/// Where the marker of a token is: by serial number for people, and by a digest of module, label and
/// serial number, since one serial number may be that of many tokens.
pub(super) fn path(state_dir: &Path, module: &Path, label: &str, serial: &str) -> PathBuf {
    let readable: String =
        serial.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    state_dir.join(format!("pin-{readable}-{}.json", token_key(module, label, serial)))
}

/// Forgets every try: the token has accepted a PIN.
pub(super) fn remove(path: &Path) -> std::io::Result<()> {
    durable::remove(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn at(folder: &Path, serial: &str) -> PathBuf {
        path(folder, Path::new("/module.so"), "label", serial)
    }

    #[test]
    fn tokens_with_one_serial_number_have_markers_of_their_own() {
        let folder = Path::new("/state");
        let zeros = "0000000000000000";
        let one = path(folder, Path::new("/a.so"), "one", zeros);
        assert_ne!(one, path(folder, Path::new("/a.so"), "two", zeros));
        assert_ne!(one, path(folder, Path::new("/b.so"), "one", zeros));
    }

    #[test]
    fn a_token_that_takes_no_pin_is_left_alone_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let path = at(folder.path(), "0");
        let mut marker = Marker::read(&path).unwrap();
        let [tried, other] = [b"1111", b"2222"].map(|pin| marker.hash(pin).unwrap());
        let waits = |code: &str, age: Duration, hash: &PinHash| {
            let mut marker = Marker::read(&path).unwrap();
            marker.note_try(tried);
            marker.note_state(code.into());
            marker.write(&path).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(file.metadata().unwrap().modified().unwrap() - age).unwrap();
            let marker = Marker::read(&path).unwrap();
            assert!(!marker.forbids(&tried, true), "it was not judged");
            marker.waits(hash, &path).unwrap().is_some()
        };
        marker.note_try(tried);
        marker.write(&path).unwrap();
        let minutes = |n: u64| Duration::from_secs(60 * n);
        assert!(waits("CKR_PIN_LOCKED", minutes(0), &tried));
        assert!(waits("CKR_PIN_LOCKED", minutes(9), &other));
        assert!(!waits("CKR_PIN_LOCKED", minutes(11), &tried));
        assert!(waits("CKR_PIN_LEN_RANGE", minutes(1), &tried));
        assert!(!waits("CKR_PIN_LEN_RANGE", minutes(1), &other), "another PIN is free");
        assert!(!waits("CKR_USER_PIN_NOT_INITIALIZED", minutes(1), &tried));
    }

    fn marker(path: &Path, tries: &[&str]) -> Marker {
        let mut marker = Marker::read(path).unwrap();
        for pin in tries {
            marker.note_try(marker.hash(pin.as_bytes()).unwrap());
            marker.note_refusal();
        }
        marker
    }

    #[test]
    fn no_refused_pin_is_forgotten_and_another_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let path = at(folder.path(), "0a/..");
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.starts_with("pin-0a___-") && name.ends_with(".json"), "{name}");
        marker(&path, &["1111", "2222"]).write(&path).unwrap();
        let read = Marker::read(&path).unwrap();
        for (pin, forbidden) in [("1111", true), ("2222", true), ("3333", false)] {
            let hash = read.hash(pin.as_bytes()).unwrap();
            assert_eq!(read.forbids(&hash, false), forbidden, "{pin}");
            assert_eq!(read.forbids(&hash, true), forbidden, "{pin}");
        }
    }

    #[test]
    fn an_unheard_try_is_forbidden_by_the_tokens_word() {
        let folder = tempfile::tempdir().unwrap();
        let path = at(folder.path(), "0");
        let mut trying = Marker::read(&path).unwrap();
        let [tried, other] = [b"1111", b"2222"].map(|pin| trying.hash(pin).unwrap());
        trying.note_try(tried);
        trying.write(&path).unwrap();
        let read = Marker::read(&path).unwrap();
        assert!(read.forbids(&tried, true) && !read.forbids(&tried, false));
        assert!(!read.forbids(&other, true));

        std::fs::write(&path, b"{").unwrap();
        let read = Marker::read(&path).unwrap();
        let any = read.hash(b"1111").unwrap();
        assert!(read.forbids(&any, true) && !read.forbids(&any, false));
    }

    #[test]
    fn the_file_shows_no_pin() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["1", "2"].map(|serial| at(folder.path(), serial));
        for path in [&one, &two] {
            marker(path, &["1111"]).write(path).unwrap();
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert!(!std::fs::read_to_string(path).unwrap().contains("1111"));
        }
        let [one, two] = [one, two].map(|path| Marker::read(&path).unwrap());
        assert_ne!(one.refused, two.refused, "each has a salt of its own");
    }
}
