//! States in which a token takes no PIN, whichever it is: what an operator does, and when one login is
//! tried again.

use std::path::Path;
use std::time::Duration;

use cryptoki::error::RvError;

use crate::token::error::{TokenError, ckr};

/// What a login that can't work costs nothing, so it may be tried again soon.
const SOON: Duration = Duration::from_secs(30);

/// A TPM's lockout passes by itself; a login during one must be seldom, and an operator can see it coming.
const SELDOM: Duration = Duration::from_secs(600);

/// A state by the return code of `C_Login`.
#[derive(Clone, Debug)]
pub(super) struct PinState {
    code: String,
}

impl PinState {
    /// The state behind a return code; `None` for codes that say nothing of the PIN.
    pub(super) fn of(rv: &RvError) -> Option<Self> {
        let is_state = matches!(
            rv,
            RvError::PinLocked
                | RvError::PinExpired
                | RvError::UserPinNotInitialized
                | RvError::PinLenRange
                | RvError::PinTooWeak
                | RvError::NewPinMode
                | RvError::NextOtp
                | RvError::UserTypeInvalid
        );
        is_state.then(|| Self { code: ckr(rv) })
    }

    /// The state with this code.
    pub(super) fn named(code: &str) -> Self {
        Self { code: code.to_owned() }
    }

    /// How long no login is tried.
    pub(super) fn delay(&self) -> Duration {
        if self.code == "CKR_USER_PIN_NOT_INITIALIZED" { SOON } else { SELDOM }
    }

    /// The error for the operator.
    pub(super) fn error(&self, retry_in: Duration, marker: &Path) -> TokenError {
        let advice = match self.code.as_str() {
            "CKR_PIN_LOCKED" => {
                "too many wrong PINs were entered; unlock it with the security officer's PIN (a TPM's \
                 lockout passes by itself, or with tpm2_dictionarylockout)"
            }
            "CKR_PIN_EXPIRED" => "the PIN has to be changed with the vendor's tool",
            "CKR_USER_PIN_NOT_INITIALIZED" => {
                "the token has no user PIN yet; set one with the vendor's tool"
            }
            "CKR_PIN_LEN_RANGE" => {
                "the PIN in the file is shorter or longer than the token's PINs; correct the file, \
                 another PIN is tried at once"
            }
            _ => "set the user PIN up with the vendor's tool",
        };
        let (code, marker) = (self.code.clone(), marker.to_owned());
        let retry_in = Duration::from_secs(retry_in.as_secs().max(1));
        TokenError::PinState { code, advice, retry_in, marker }
    }

    /// Whether another PIN would fare better.
    pub(super) fn is_the_pins_own(&self) -> bool {
        self.code == "CKR_PIN_LEN_RANGE"
    }
}
