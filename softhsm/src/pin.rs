//! PINs come from files: an argument or a variable would show them to every process.

use std::path::Path;

use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use crate::Error;

/// Reads a PIN from a file of one line; the line's end is not part of it. Every copy made on the way
/// is zeroized, and the PIN itself when it is dropped.
pub fn read_pin(path: &Path) -> Result<AuthPin, Error> {
    let bytes = Zeroizing::new(
        std::fs::read(path).map_err(Error::file("the PIN file cannot be read", path))?,
    );
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let malformed = || Error::MalformedPin { path: path.to_owned() };
    let pin = std::str::from_utf8(line).map_err(|_| malformed())?;
    if !(4..=255).contains(&pin.len()) || pin.contains(char::is_control) {
        return Err(malformed());
    }
    Ok(AuthPin::from(pin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_one_line_of_4_to_255_bytes() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("pin");
        let long = "9".repeat(256);
        let good = ["1234", "1234\n", "1234\r\n", "päss wört\n", &long[1..]];
        let bad = ["", "\n", "123\n", "1234\n\n", "1234\n5678\n", &long];
        for (texts, accepted) in [(good.as_slice(), true), (bad.as_slice(), false)] {
            for text in texts {
                std::fs::write(&path, text).expect("write");
                assert_eq!(read_pin(&path).is_ok(), accepted, "{text:?}");
            }
        }
        std::fs::write(&path, b"\xff\xff\xff\xff").expect("write");
        assert!(matches!(read_pin(&path), Err(Error::MalformedPin { .. })));
        assert!(matches!(read_pin(&folder.path().join("none")), Err(Error::File { .. })));
    }
}
