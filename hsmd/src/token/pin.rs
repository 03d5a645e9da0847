//! The PIN rule: a wrong PIN means exactly one `C_Login`, also across restarts.
//!
//! Before a login the PIN's hash is written beside the journal, into a file named after the token's
//! serial; a good login removes the file. A PIN that the token refused is never tried again, whatever
//! becomes of the file that it stands in, and another PIN is tried at once. A login whose outcome is
//! unknown (a crash, a device that failed in the middle of it) counts as refused only when the token
//! itself says that a wrong PIN was entered since the last good one.

mod marker;

use std::path::Path;

use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::TokenInfo;
use cryptoki::types::AuthPin;
use hsmd_support::secret;

use self::marker::Marker;
use super::class::{Class, classify};
use super::error::TokenError;

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
    let pin = secret::line(pin_file)?;

    let path = marker::path(state_dir, &serial);
    let marker_error = |source| TokenError::PinMarker { path: path.clone(), source };
    let refused = || TokenError::PinRefused {
        serial: serial.clone(),
        path: pin_file.into(),
        marker: path.clone(),
    };
    let mut marker = Marker::read(&path).map_err(marker_error)?;
    let hash = marker.hash(pin.as_bytes()).map_err(marker_error)?;
    if marker.forbids(&hash, info.user_pin_count_low()) {
        return Err(refused());
    }
    if info.user_pin_locked() {
        return Err(TokenError::PinEndangered { state: "locked" });
    }
    if info.user_pin_final_try() {
        return Err(TokenError::PinEndangered { state: "one wrong try from being locked" });
    }

    marker.note_try(hash);
    marker.write(&path).map_err(marker_error)?;
    crate::crash_point!("pin::before-login");
    let pin = AuthPin::from(pin.as_str().to_owned());
    match session.login(UserType::User, Some(&pin)) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
            marker::remove(&path).map_err(marker_error)
        }
        Err(Error::Pkcs11(rv, _)) if classify(&rv) == Class::Fatal => {
            tracing::error!(?rv, %serial, "the token refused the PIN");
            marker.note_refusal();
            marker.write(&path).map_err(marker_error)?;
            Err(refused())
        }
        // The device may have judged the PIN all the same, so the marker stays: the token's flags decide.
        Err(source) => Err(TokenError::call("logging in to the token")(source)),
    }
}
