//! Files that hold one secret each: PINs, database URLs, passwords, private keys.
//!
//! A secret that others may read is none, so such a file is refused. One rule for all programs: only
//! the owner may write it, and the group may read it at the most, since Kubernetes mounts secrets
//! that way.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

/// The longest secret that is read.
const MAX_BYTES: u64 = 1 << 20;

/// Writing for all but the owner, and everything for others.
const REFUSED_MODE: u32 = 0o037;

/// Everything for all but the owner.
const REFUSED_MODE_OWN: u32 = 0o077;

/// Why a secret can't be used. It names the file and never what is in it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file can't be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// Others may read or write the file.
    #[error("{path}: mode {mode:o} admits others: use 0400, 0440 or 0600")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is nothing in it.
    #[error("{0}: the file is empty")]
    Empty(PathBuf),
    /// It is no text, or several lines.
    #[error("{0}: the file should hold one line of text")]
    NotALine(PathBuf),
    /// It is longer than any secret.
    #[error("{0}: the file is larger than {MAX_BYTES} bytes")]
    TooLong(PathBuf),
}

/// Reads a file that holds one secret on one line, without its line end.
///
/// # Errors
/// [`SecretError::Read`], [`SecretError::Mode`], [`SecretError::TooLong`]; [`SecretError::Empty`] or
/// [`SecretError::NotALine`] if it does not hold one line.
pub fn line(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    let bytes = bytes(path)?;
    let text = str::from_utf8(&bytes).map_err(|_| SecretError::NotALine(path.into()))?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(SecretError::Empty(path.into()));
    }
    if line.contains(['\n', '\r']) {
        return Err(SecretError::NotALine(path.into()));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

/// Reads a whole file that holds a secret.
///
/// # Errors
/// [`SecretError::Read`], [`SecretError::Mode`], [`SecretError::TooLong`].
pub fn bytes(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    read(path, REFUSED_MODE)
}

/// As [`bytes`], for a file that this program wrote for its own user: the group may not read it either.
///
/// # Errors
/// [`SecretError::Read`], [`SecretError::TooLong`]; [`SecretError::Mode`] if anybody else may read it.
pub fn own_bytes(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    read(path, REFUSED_MODE_OWN)
}

fn read(path: &Path, refused: u32) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let failed = |source| SecretError::Read { path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    // Of the opened file: the path may lead elsewhere a moment later.
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.mode() & 0o777;
    if mode & refused != 0 {
        return Err(SecretError::Mode { path: path.into(), mode });
    }
    // Room for all of it and more: a buffer that grows leaves copies behind that are never wiped.
    let room = metadata.len().min(MAX_BYTES) as usize + 64;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(SecretError::TooLong(path.into()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn a_secret_is_one_line() {
        for (text, expected) in [
            ("hunter2", "hunter2"),
            ("hunter2\n", "hunter2"),
            ("hunter2\r\n", "hunter2"),
            (" x \n", " x "),
        ] {
            let (_folder, path) = file(text, 0o600);
            assert_eq!(*line(&path).unwrap(), expected);
        }
        for text in ["", "\n", "\r\n"] {
            let (_folder, path) = file(text, 0o600);
            assert!(matches!(line(&path), Err(SecretError::Empty(_))), "{text:?}");
        }
        for text in ["a\nb\n", "a\n\n"] {
            let (_folder, path) = file(text, 0o600);
            assert!(matches!(line(&path), Err(SecretError::NotALine(_))), "{text:?}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_or_write_is_refused() {
        for mode in [0o400, 0o440, 0o600, 0o640, 0o700] {
            let (_folder, path) = file("x", mode);
            assert_eq!(*line(&path).unwrap(), "x", "{mode:o}");
        }
        for mode in [0o404, 0o604, 0o644, 0o620, 0o660, 0o601, 0o602] {
            let (_folder, path) = file("hunter2", mode);
            let error = line(&path).unwrap_err();
            assert!(matches!(error, SecretError::Mode { mode: found, .. } if found == mode));
            let text = error.to_string();
            assert!(
                text.contains(&format!("mode {mode:o}")) && !text.contains("hunter2"),
                "{text}"
            );
        }
        let (_folder, path) = file("x", 0o640);
        assert!(matches!(own_bytes(&path), Err(SecretError::Mode { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(**own_bytes(&path).unwrap(), *b"x");
    }

    #[test]
    fn what_is_no_secret_is_not_read() {
        let (folder, path) = file(&"x".repeat(1 << 20), 0o600);
        assert!(line(&path).is_ok());
        fs::write(&path, "x".repeat((1 << 20) + 1)).unwrap();
        assert!(matches!(line(&path), Err(SecretError::TooLong(_))));
        fs::write(&path, [0xff]).unwrap();
        assert!(matches!(line(&path), Err(SecretError::NotALine(_))));
        let absent = folder.path().join("absent");
        assert!(matches!(line(&absent), Err(SecretError::Read { .. })));
    }
}
