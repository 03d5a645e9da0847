//! The PIN's file: what stands in it is the PIN exactly, or it is refused before a login is spent.

use std::path::Path;

use hsmd_support::{SecretError, secret};
use zeroize::Zeroizing;

use crate::token::error::TokenError;

/// Reads a PIN: all of the file but one line end, LF or CRLF.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, TokenError> {
    let bytes = secret::bytes(path)?;
    let text = str::from_utf8(&bytes).map_err(|_| SecretError::NotALine(path.into()))?;
    let pin = match text.strip_suffix('\n') {
        Some(line) => line.strip_suffix('\r').unwrap_or(line),
        None => text,
    };
    match fault(pin) {
        Some(fault) => Err(TokenError::PinText { path: path.into(), fault }),
        None => Ok(Zeroizing::new(pin.to_owned())),
    }
}

fn fault(pin: &str) -> Option<&'static str> {
    if pin.is_empty() {
        Some("the file is empty (a token with an empty PIN: pin = \"\" instead of pin_file)")
    } else if pin.starts_with('\u{feff}') {
        Some("the file begins with a byte order mark, which is no part of a PIN: remove it")
    } else if pin.contains(['\n', '\r', '\0']) {
        Some("the file has more than one line")
    } else if pin.trim().len() != pin.len() {
        Some("there are blanks around the PIN: remove them")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn one_line_end_is_cut_and_nothing_else_is_guessed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        let read = |content: &str| {
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            super::read(&path).map(|pin| pin.to_string()).map_err(|error| error.to_string())
        };
        for good in ["12 34", "12 34\n", "12 34\r\n"] {
            assert_eq!(read(good).as_deref(), Ok("12 34"), "{good:?}");
        }
        for (bad, word) in [
            ("", "empty"),
            ("\n", "empty"),
            ("\u{feff}1234\n", "byte order mark"),
            ("1234\n\n", "more than one line"),
            ("1234\r", "more than one line"),
            ("1234\n5678\n", "more than one line"),
            (" 1234\n", "blanks"),
            ("1234 \n", "blanks"),
            ("\t1234", "blanks"),
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.contains(word) && !error.contains("1234"), "{bad:?}: {error}");
        }
    }
}
