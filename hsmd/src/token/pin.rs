//! The PIN rule: a wrong PIN means exactly one `C_Login`, also across restarts.
//!
//! Before a login the PIN's hash is written beside the journal, into a file of this token's own (by
//! module, label and serial number: many devices share a serial number of zeros); a good login removes
//! the file. A PIN that the token refused is never tried again, whatever becomes of the file that it
//! stands in, and another PIN is tried at once. A login whose outcome is unknown (a crash, a device that
//! failed in the middle of it) counts as refused only when the token itself says that a wrong PIN was
//! entered since the last good one. A token that takes no PIN at all (locked, expired, not set up) has
//! not judged it: one login is tried again after a documented delay.

mod file;
mod marker;
mod state;

use std::path::Path;

use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::TokenInfo;
use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use self::marker::Marker;
use self::state::PinState;
use super::error::{TokenError, ckr};
use crate::config::TokenConfig;

/// Logs the session in as the user, unless that could bring the token closer to being locked. A token
/// that asks for no login gets none.
///
/// # Errors
/// [`TokenError::PinFile`] or [`TokenError::PinText`] for the file, [`TokenError::PinMarker`],
/// [`TokenError::PinRefused`], [`TokenError::PinEndangered`], [`TokenError::PinState`];
/// [`TokenError::LoginUnsupported`] if the token takes no PIN from a program; [`TokenError::Call`].
pub fn login(
    session: &Session,
    info: &TokenInfo,
    config: &TokenConfig,
    state_dir: &Path,
) -> Result<(), TokenError> {
    if !info.login_required() {
        return Ok(());
    }
    if info.protected_authentication_path() {
        return Err(TokenError::LoginUnsupported("reads its PIN from a pad of its own"));
    }
    let pin = read(config)?;
    let serial = info.serial_number().to_owned();
    let path = marker::path(state_dir, &config.module, info.label(), &serial);
    let marker_error = |source| TokenError::PinMarker { path: path.clone(), source };
    let refused = || TokenError::PinRefused {
        serial: serial.clone(),
        path: config.pin_file.clone().unwrap_or_default(),
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
    if let Some((code, retry_in)) = marker.waits(&hash, &path).map_err(marker_error)? {
        return Err(PinState::named(&code).error(retry_in, &path));
    }

    marker.note_try(hash);
    marker.write(&path).map_err(marker_error)?;
    crate::crash_point!("pin::before-login");
    let pin = AuthPin::from(pin.as_str().to_owned());
    match session.login(UserType::User, Some(&pin)) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
            marker::remove(&path).map_err(marker_error)
        }
        Err(Error::Pkcs11(rv @ (RvError::PinIncorrect | RvError::PinInvalid), _)) => {
            tracing::error!(?rv, %serial, "the token refused the PIN");
            marker.note_refusal();
            marker.write(&path).map_err(marker_error)?;
            Err(refused())
        }
        Err(Error::Pkcs11(rv, function)) => match PinState::of(&rv) {
            Some(state) => {
                tracing::error!(?rv, %serial, "the token takes no PIN");
                marker.note_state(ckr(&rv));
                marker.write(&path).map_err(marker_error)?;
                Err(state.error(state.delay(), &path))
            }
            // The device may have judged the PIN all the same, so the marker stays: its flags decide.
            None => Err(TokenError::call("logging in to the token")(Error::Pkcs11(rv, function))),
        },
        Err(source) => Err(TokenError::call("logging in to the token")(source)),
    }
}

/// The PIN of the configuration: from its file, or empty where the configuration says so.
fn read(config: &TokenConfig) -> Result<Zeroizing<String>, TokenError> {
    match &config.pin_file {
        Some(path) => file::read(path),
        None => Ok(Zeroizing::new(String::new())),
    }
}
