//! What can go wrong with a token, and what that means for the session.

use std::path::PathBuf;

use cryptoki::error::{Error, RvError};

use super::class::{Class, classify};

/// An error of the token or its module.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The module can't be loaded.
    #[error("cannot load the PKCS#11 module {path}")]
    Load {
        /// The module's path.
        path: PathBuf,
        /// Why.
        #[source]
        source: Error,
    },
    /// A PKCS#11 function failed.
    #[error("{doing}: {}", code(error))]
    Call {
        /// What we were doing.
        doing: &'static str,
        /// The function and its return code.
        error: Error,
    },
    /// No token has the configured label or serial.
    #[error("no token named {name} in the module {path}")]
    Absent {
        /// The configured label or serial.
        name: String,
        /// The module's path.
        path: PathBuf,
    },
    /// Several tokens have the configured label.
    #[error("{count} tokens are named {name}: give a serial")]
    Ambiguous {
        /// The configured label.
        name: String,
        /// How many.
        count: usize,
    },
    /// The PIN file can't be used.
    #[error("cannot read the PIN file")]
    PinFile(#[from] hsmd_support::SecretError),
    /// The PIN marker can't be kept, so that a login might be tried twice.
    #[error("cannot write the PIN marker {path}")]
    PinMarker {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The token refused this PIN before; another try with the same PIN is never made.
    #[error(
        "the token {serial} refused the PIN in {path}: correct the file, another PIN is tried at once \
         and this one never again (should the token's own PIN have become this one: remove {marker})"
    )]
    PinRefused {
        /// The token's serial number.
        serial: String,
        /// The PIN file.
        path: PathBuf,
        /// The marker that forbids it.
        marker: PathBuf,
    },
    /// The next wrong PIN would lock the token, or it is locked already.
    #[error("the token's user PIN is {state}: log in by hand with the right PIN first")]
    PinEndangered {
        /// "locked" or "one wrong try from being locked".
        state: &'static str,
    },
    /// The token returned something that it may not return.
    #[error("the token returned {0}")]
    Nonsense(&'static str),
    /// A key that should be there is not.
    #[error("no private key on the token signs for {public_key}")]
    KeyMissing {
        /// The public key looked for.
        public_key: String,
    },
    /// A destroyed key is still found.
    #[error("the key {id} is still on the token after C_DestroyObject")]
    NotDestroyed {
        /// Its CKA_ID.
        id: String,
    },
    /// In a standby pair: the other daemon may be the one that writes. The token is as it was.
    #[error("the newest proof that this daemon holds the writer lock has run out")]
    LeaseExpired,
    /// The module was finalised on another token's behalf.
    #[error("the session ended when the PKCS#11 module was reinitialised for another token")]
    Finalised,
    /// The session is closed and not yet open again.
    #[error("the token {name} is not open: {problem}")]
    Closed {
        /// The token's name.
        name: String,
        /// Why it could not be opened.
        problem: String,
    },
}

impl TokenError {
    pub(crate) fn call(doing: &'static str) -> impl FnOnce(Error) -> Self {
        move |error| Self::Call { doing, error }
    }

    /// What this error asks for.
    pub fn class(&self) -> Class {
        match self {
            Self::Call { error: Error::Pkcs11(rv, _), .. } => classify(rv),
            Self::Call { .. } | Self::Load { .. } | Self::Absent { .. } | Self::Nonsense(_) => {
                Class::Device
            }
            Self::PinFile(_)
            | Self::PinMarker { .. }
            | Self::PinRefused { .. }
            | Self::PinEndangered { .. }
            | Self::Ambiguous { .. } => Class::Fatal,
            Self::LeaseExpired => Class::Caller,
            Self::KeyMissing { .. }
            | Self::NotDestroyed { .. }
            | Self::Finalised
            | Self::Closed { .. } => Class::Session,
        }
    }

    /// A short name for counting: the return code where there is one.
    pub fn label(&self) -> String {
        match self {
            Self::Call { error: Error::Pkcs11(rv, _), .. } => ckr(rv),
            Self::Call { .. } => "other".into(),
            Self::Load { .. } => "module_not_loaded".into(),
            Self::Absent { .. } => "token_absent".into(),
            Self::Ambiguous { .. } => "token_ambiguous".into(),
            Self::PinFile(_) | Self::PinMarker { .. } => "pin_file".into(),
            Self::PinRefused { .. } | Self::PinEndangered { .. } => "pin_refused".into(),
            Self::Nonsense(_) => "nonsense".into(),
            Self::KeyMissing { .. } => "key_missing".into(),
            Self::NotDestroyed { .. } => "not_destroyed".into(),
            Self::LeaseExpired => "lock_ran_out".into(),
            Self::Finalised => "module_finalised".into(),
            Self::Closed { .. } => "closed".into(),
        }
    }

    /// The PKCS#11 return code, where there is one.
    pub fn rv(&self) -> Option<&RvError> {
        match self {
            Self::Call { error: Error::Pkcs11(rv, _), .. } => Some(rv),
            _ => None,
        }
    }
}

/// An error in the specification's words: `C_Sign: CKR_DEVICE_ERROR`.
fn code(error: &Error) -> String {
    match error {
        Error::Pkcs11(
            rv @ (RvError::VendorDefined(_) | RvError::UnknownErrorCode(_)),
            function,
        ) => {
            format!("C_{function:?}: {rv}")
        }
        Error::Pkcs11(rv, function) => format!("C_{function:?}: {}", ckr(rv)),
        other => other.to_string(),
    }
}

/// The specification's name of a return code, made from cryptoki's name of it.
pub(super) fn ckr(rv: &RvError) -> String {
    let mut name = String::from("CKR");
    for c in format!("{rv:?}").chars() {
        if c.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    #[test]
    fn errors_speak_the_specifications_words() {
        let error = Error::Pkcs11(RvError::PinIncorrect, Function::Login);
        let error = TokenError::call("logging in to the token")(error);
        assert_eq!(error.to_string(), "logging in to the token: C_Login: CKR_PIN_INCORRECT");
        assert_eq!(error.class(), Class::Fatal);
    }
}
