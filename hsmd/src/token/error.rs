//! What can go wrong with a token, and what that means for the session.

use std::path::PathBuf;
use std::time::Duration;

use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};

use super::class::{Class, classify};

/// An error of the token or its module.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The module can't be loaded.
    #[error("cannot load a PKCS#11 module")]
    Load {
        /// The module's path.
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
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
    #[error("no token named {name} in the module {path}: {seen}")]
    Absent {
        /// The configured label or serial.
        name: String,
        /// The module's path.
        path: PathBuf,
        /// The tokens that are there, and the slots that could not be described.
        seen: String,
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
    /// What stands in the PIN file is not one PIN; no login is spent on it.
    #[error("the PIN file {path}: {fault}")]
    PinText {
        path: PathBuf,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The PIN marker can't be kept, so that a login might be tried twice.
    #[error("cannot write the PIN marker {path}")]
    PinMarker {
        path: PathBuf,
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
    /// The token takes no PIN now, without having judged the one in the file.
    #[error(
        "the token takes no PIN, {code}: {advice}; one login is tried again in {}, or at once (remove \
         {marker})",
        humantime::format_duration(*.retry_in)
    )]
    PinState {
        /// The return code, or the token's flag.
        code: String,
        /// What to do.
        advice: &'static str,
        /// When the next login is tried.
        retry_in: Duration,
        /// The marker that keeps one from being tried before.
        marker: PathBuf,
    },
    /// The token is logged in to in a way that a daemon can't.
    #[error("the token {0}: hsmd can't log in to it")]
    LoginUnsupported(&'static str),
    /// The token returned something that it may not return.
    #[error("the token returned {0}")]
    Nonsense(&'static str),
    /// A key that should be there is not.
    #[error("no private key on the token signs for {public_key}")]
    KeyMissing {
        /// The public key looked for.
        public_key: String,
    },
    /// The token does not destroy an object: `C_DestroyObject` fails, or it is still found.
    #[error("{what} was not destroyed: {}", error.as_ref().map_or_else(|| "it is still found".into(), code))]
    NotDestroyed {
        what: String,
        /// The return code; none when it is still found.
        error: Option<Error>,
    },
    /// A handle means another object than the one that it was found or made for.
    #[error("a handle for {meant} means {found}: the module gives handles that are in use")]
    AnotherObject {
        /// What was meant.
        meant: String,
        /// What it means.
        found: String,
    },
    /// A key has the CKA_ID that a new pair would get.
    #[error("no pair is made with CKA_ID {id:?}: {by} has it, and some tokens overwrite")]
    IdTaken {
        id: String,
        /// Who has it.
        by: String,
    },
    /// A new key has another CKA_ID than it was given.
    #[error(
        "the token changed the CKA_ID {id:?} of a new key to {found:?}: keys could be taken for each \
         other, so this module can't be used (yubihsm_pkcs11: 2.4 or later)"
    )]
    IdChanged {
        /// What it was given.
        id: String,
        /// What it has.
        found: String,
    },
    /// A key has the number of the one that a rotation is to make, and no journal of ours began it.
    #[error(
        "the token holds a key {0:08} that no rotation of this daemon has begun: an event that is not known \
         here may commit to it. Import the newest copy of the log, or, if you know that there is none, \
         destroy that key"
    )]
    KeyInTheWay(u32),
    /// A new key could leave the token.
    #[error(
        "the token reports a new key with {0}: it may not be kept in the device; if this module \
         reports all its keys so, set accept_extractable = true"
    )]
    Unguarded(String),
    /// A pair does not sign for its own public key.
    #[error(
        "the new pair with CKA_ID {id:?} does not sign for its public key: no event commits to it"
    )]
    Unproven { id: String },
    /// The second process of a trial does not answer.
    #[error("the second process of the trial does not answer")]
    SecondProcess,
    /// The token gets no copy of the journal.
    #[error("the token gets no copy of the journal: {0}")]
    NoCopy(String),
    /// The token gets no record of its owner.
    #[error("the token gets no record of its owner: {0}")]
    NoRecord(String),
    /// What is known of the token's objects can't be kept.
    #[error("cannot use the note {path} on what the token holds")]
    CopyNote {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// An object among the records of the token's owners is none that this version knows.
    #[error(
        "the token holds a record of its owner that this hsmd can't read: another version's, or damaged"
    )]
    UnknownRecord,
    /// Another daemon may be the one that writes. The token is as it was.
    #[error("the lease on the writer lock or on the token has expired")]
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
    /// A module that can't be loaded; cryptoki's text repeats its cause, which names the path.
    pub(super) fn load(path: PathBuf, error: Error) -> Self {
        let source = match error {
            Error::LibraryLoading(cause) => cause.into(),
            error => error.into(),
        };
        Self::Load { path, source }
    }

    pub fn call(doing: &'static str) -> impl FnOnce(Error) -> Self {
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
            | Self::PinText { .. }
            | Self::PinMarker { .. }
            | Self::PinRefused { .. }
            | Self::PinEndangered { .. }
            | Self::PinState { .. }
            | Self::LoginUnsupported(_)
            | Self::Ambiguous { .. } => Class::Fatal,
            Self::LeaseExpired
            | Self::UnknownRecord
            | Self::SecondProcess
            | Self::NoCopy(_)
            | Self::NoRecord(_)
            | Self::CopyNote { .. }
            | Self::IdTaken { .. }
            | Self::KeyInTheWay(_)
            | Self::IdChanged { .. }
            | Self::Unguarded(_)
            | Self::Unproven { .. } => Class::Caller,
            // Handles are numbered anew by C_Initialize.
            Self::AnotherObject { .. } => Class::Device,
            Self::NotDestroyed { error: Some(Error::Pkcs11(rv, _)), .. } => classify(rv),
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
            Self::PinFile(_) | Self::PinText { .. } | Self::PinMarker { .. } => "pin_file".into(),
            Self::PinRefused { .. } | Self::PinEndangered { .. } => "pin_refused".into(),
            Self::PinState { code, .. } => code.clone(),
            Self::LoginUnsupported(_) => "login_unsupported".into(),
            Self::Nonsense(_) => "nonsense".into(),
            Self::KeyMissing { .. } => "key_missing".into(),
            Self::NotDestroyed { error: Some(Error::Pkcs11(rv, _)), .. } => ckr(rv),
            Self::NotDestroyed { .. } => "not_destroyed".into(),
            Self::AnotherObject { .. } => "another_object".into(),
            Self::SecondProcess => "second_process".into(),
            Self::NoCopy(_) | Self::CopyNote { .. } => "no_journal_copy".into(),
            Self::NoRecord(_) => "no_owner_record".into(),
            Self::KeyInTheWay(_) | Self::IdTaken { .. } | Self::IdChanged { .. } => "key_id".into(),
            Self::Unguarded(_) => "key_unguarded".into(),
            Self::Unproven { .. } => "key_unproven".into(),
            Self::UnknownRecord => "unknown_record".into(),
            Self::LeaseExpired => "lease_expired".into(),
            Self::Finalised => "module_finalised".into(),
            Self::Closed { .. } => "closed".into(),
        }
    }

    /// Whether the token refuses to destroy an object; others than a lost token do not cure that.
    pub fn is_refused_destruction(&self) -> bool {
        matches!(self, Self::NotDestroyed { .. } | Self::AnotherObject { .. })
    }

    /// Whether the token itself refuses to make or replace an object, rather than being lost.
    pub fn refuses_object(&self) -> bool {
        match self {
            Self::Call { error: Error::Pkcs11(rv, function), .. } => {
                matches!(function, Function::CreateObject)
                    && (classify(rv) == Class::Caller
                        || matches!(rv, RvError::GeneralError | RvError::FunctionFailed))
            }
            Self::NotDestroyed { error: Some(Error::Pkcs11(rv, _)), .. } => {
                classify(rv) == Class::Caller
            }
            _ => false,
        }
    }

    /// Whether the token itself refuses to make a pair with a CKA_ID like a record, or to destroy it.
    pub fn refuses_pair(&self) -> bool {
        match self {
            Self::IdChanged { .. } | Self::Unguarded(_) => true,
            Self::Call { error: Error::Pkcs11(rv, Function::GenerateKeyPair), .. } => {
                classify(rv) == Class::Caller
                    || matches!(rv, RvError::GeneralError | RvError::FunctionFailed)
            }
            Self::NotDestroyed { error: None, .. } => true,
            Self::NotDestroyed { error: Some(Error::Pkcs11(rv, _)), .. } => {
                classify(rv) == Class::Caller
            }
            _ => false,
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
    use super::*;

    #[test]
    fn errors_speak_the_specifications_words() {
        let error = Error::Pkcs11(RvError::PinIncorrect, Function::Login);
        let error = TokenError::call("logging in to the token")(error);
        assert_eq!(error.to_string(), "logging in to the token: C_Login: CKR_PIN_INCORRECT");
        assert_eq!(error.class(), Class::Fatal);
    }
}
