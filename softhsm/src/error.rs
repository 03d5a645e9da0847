//! What can go wrong on the way to a token, and whose fault it is.

use std::path::PathBuf;
use std::process::ExitStatus;

/// An operation on a SoftHSM token failed. The cause, where there is one, is the error's source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder of the token could not be read or written.
    #[error("{}: {action}", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The PIN file does not hold a PIN.
    #[error("{}: not a PIN: one line of 4 to 255 bytes of UTF-8 is needed", path.display())]
    MalformedPin {
        /// The PIN file.
        path: PathBuf,
    },
    /// PKCS#11 keeps labels in 32 bytes.
    #[error("token label {0:?} is not 1 to 32 bytes long")]
    MalformedLabel(String),
    /// A key's sequence number does not fit the 8 digits of a CKA_ID.
    #[error("sequence number {0} has more than 8 digits")]
    MalformedId(u32),
    /// No initialised token carries the label.
    #[error("no token is labelled {0:?}: run `hsmd-softhsm provision` first")]
    NoToken(String),
    /// More than one token carries the label.
    #[error("{count} tokens are labelled {label:?}")]
    AmbiguousLabel {
        /// The label.
        label: String,
        /// How many carry it.
        count: usize,
    },
    /// Nothing on the token matches what was asked for.
    #[error("the token holds no such object")]
    NoObject,
    /// A key pair is still there although the token said that it was destroyed.
    #[error("{0} objects are still on the token after C_DestroyObject")]
    NotDestroyed(usize),
    /// A public key object holds no P-256 point.
    #[error("the public key object holds no P-256 point")]
    NotP256,
    /// The module refused a call; the source names the C function and its return code.
    #[error("the PKCS#11 module failed to {action}")]
    Module {
        /// What was being done.
        action: &'static str,
        /// The C function and its return code.
        source: cryptoki::error::Error,
    },
    /// The `hsmd-softhsm` command could not be run.
    #[error("{}: cannot be run", program.display())]
    Run {
        /// The command.
        program: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The `hsmd-softhsm` command failed; its own words are in the text.
    #[error("hsmd-softhsm {command}: {status}: {stderr}")]
    Failed {
        /// The subcommand.
        command: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        stderr: String,
    },
    /// The `hsmd-softhsm` command printed something else than it promises.
    #[error("hsmd-softhsm {command}: unexpected output")]
    Output {
        /// The subcommand.
        command: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Error {
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    pub(crate) fn module(action: &'static str) -> impl FnOnce(cryptoki::error::Error) -> Self {
        move |source| Self::Module { action, source }
    }
}
