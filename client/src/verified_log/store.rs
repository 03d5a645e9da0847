//! The verified log in a file: the published form, replaced atomically and synced.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use hsmd_chain::{Anchor, KeyLog, LogError, Timestamp};
use hsmd_support::durable;

use super::OpenError;

/// Reads and verifies the log of an earlier run; `None` if there is no file. It may end before the
/// anchor's event, which a newer configuration may name: then the source has to supply that.
pub(super) fn load(path: &Path, anchor: &Anchor) -> Result<Option<KeyLog>, OpenError> {
    let json = match fs::read(path) {
        Ok(json) => json,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(OpenError::Read { path: path.to_owned(), source }),
    };
    // That no event lies in the future was checked before the file was written: a clock that has
    // been set back since must not keep a service from starting.
    let verify = |anchor| KeyLog::verify_json(&json, anchor, Timestamp::MAX, Duration::ZERO);
    match verify(anchor) {
        Err(LogError::Rollback { .. }) => verify(&Anchor::new(anchor.identity())),
        verdict => verdict,
    }
    .map(Some)
    .map_err(|error| OpenError::Verify { path: path.to_owned(), source: Box::new(error) })
}

/// Writes the log so that after a crash the file holds the old or the new one, whole.
pub(super) fn save(path: &Path, log: &KeyLog) -> io::Result<()> {
    durable::write(path, log.to_json().as_bytes())
}
