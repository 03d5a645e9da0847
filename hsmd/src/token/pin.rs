//! The PIN rule: a wrong PIN means exactly one `C_Login`, also across restarts.
//!
//! Before a login a marker is written beside the journal that names the token's serial and the PIN
//! file's mtime and size; a good login removes it. While a marker of a refused PIN matches the file,
//! no login is tried. A marker left by a login whose outcome is unknown (a crash, a device that failed
//! in the middle of it) counts as refused only when the token itself says that a wrong PIN was entered
//! since the last good one.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::TokenInfo;
use cryptoki::types::AuthPin;
use serde::{Deserialize, Serialize};

use super::class::{Class, classify};
use super::error::TokenError;
use crate::config::{check_mode, read_secret};
use crate::durable;

/// What the marker file holds.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    serial: String,
    mtime_ns: i128,
    size: u64,
    refused: bool,
}

impl Marker {
    fn same_file(&self, other: &Self) -> bool {
        (&self.serial, self.mtime_ns, self.size) == (&other.serial, other.mtime_ns, other.size)
    }
}

/// Logs the session in as the user, unless that could bring the token closer to being locked.
///
/// # Errors
/// The PIN file or the marker can't be used, the PIN was or is refused, the token is endangered.
pub fn login(
    session: &Session,
    info: &TokenInfo,
    pin_file: &Path,
    state_dir: &Path,
) -> Result<(), TokenError> {
    let serial = info.serial_number().to_owned();
    let pin_error = |source| TokenError::PinFile { path: pin_file.into(), source };
    let metadata = std::fs::metadata(pin_file).map_err(pin_error)?;
    check_mode(&metadata).map_err(pin_error)?;

    let path = marker_path(state_dir, &serial);
    let marker_error = |source| TokenError::PinMarker { path: path.clone(), source };
    let mut marker = Marker {
        serial: serial.clone(),
        mtime_ns: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
        size: metadata.size(),
        refused: false,
    };
    if let Some(left) = read(&path).map_err(marker_error)?
        && left.same_file(&marker)
        && (left.refused || info.user_pin_count_low())
    {
        return Err(TokenError::PinRefused { serial, path: pin_file.into() });
    }
    if info.user_pin_locked() {
        return Err(TokenError::PinEndangered { state: "locked" });
    }
    if info.user_pin_final_try() {
        return Err(TokenError::PinEndangered { state: "one wrong try from being locked" });
    }

    let pin = read_secret(pin_file).map_err(pin_error)?;
    let pin = AuthPin::from(pin.as_str().to_owned());
    write(&path, &marker).map_err(marker_error)?;
    crate::crash_point!("pin::before-login");
    match session.login(UserType::User, Some(&pin)) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
            durable::remove(&path).map_err(marker_error)
        }
        Err(Error::Pkcs11(rv, _)) if classify(&rv) == Class::Fatal => {
            tracing::error!(?rv, %serial, "the token refused the PIN");
            marker.refused = true;
            write(&path, &marker).map_err(marker_error)?;
            Err(TokenError::PinRefused { serial, path: pin_file.into() })
        }
        // The device may have judged the PIN all the same, so the marker stays: the token's flags decide.
        Err(source) => Err(TokenError::call("logging in to the token")(source)),
    }
}

fn marker_path(state_dir: &Path, serial: &str) -> PathBuf {
    let name: String =
        serial.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    state_dir.join(format!("pin-{name}.json"))
}

fn read(path: &Path) -> std::io::Result<Option<Marker>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, marker: &Marker) -> std::io::Result<()> {
    durable::write(path, &serde_json::to_vec(marker)?)
}
