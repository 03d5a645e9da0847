//! What can go wrong for a device, and how a person is told.

use std::{io, path::PathBuf, sync::Arc};

use hsmd_chain::endorsement::EndorsementError;
use hsmd_client::{ConnectError, OpenError, Problem, TerminalError};
use hsmd_protocol::client::ErrorReply;
use hsmd_support::{SecretError, chain};

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeviceError {
    /// A file can't be read or written.
    #[error("can't use the file {path}")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A file with keys can't be read, or others may read it.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A file is not what this program writes.
    #[error("{path} is damaged or another kind of file")]
    Damaged {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    /// A file that would be overwritten holds an account's only keys.
    #[error("{0} exists already; it may hold the only keys of an account")]
    Exists(PathBuf),
    /// Another process uses the state.
    #[error("another process is using {0}")]
    Locked(PathBuf),
    /// The command needs a session.
    #[error("there is no session; begin one with `session`")]
    NoSession,
    /// What is read from the command line is malformed.
    #[error("{0} is malformed")]
    Argument(&'static str, #[source] hsmd_protocol::Error),
    /// No answer came: the request may have been carried out or not. Running the command again is
    /// safe.
    #[error("no answer from {url}; the keys are kept, run the command again")]
    NoAnswer {
        url: String,
        #[source]
        source: Box<ureq::Error>,
    },
    /// The server refused. Refusals are not signed, so it is a hint.
    #[error("refused with status {status}: {} {}", reply.code, reply.message)]
    Refused { status: u16, reply: ErrorReply },
    /// What came is neither a reply nor a refusal in the wire form.
    #[error("{url} answered with status {status} and something that is not a reply")]
    NotAReply { url: String, status: u16 },
    /// The reply is not for our request or not signed by the key it names.
    #[error("the reply does not verify; the keys are kept")]
    Reply(#[source] hsmd_protocol::Error),
    /// The keys service's URL is not one of plain HTTP.
    #[error("the keys service's URL is malformed")]
    KeysUrl(#[source] ConnectError),
    /// There are no resources to read the key log with.
    #[error("can't begin to read the HSM's key log")]
    Runtime(#[source] io::Error),
    /// The key log can't be followed.
    #[error("can't follow the HSM's key log")]
    Follow(#[source] OpenError),
    /// The key log can't be read or does not verify.
    #[error("no key log from {url}{}", problem.as_ref().map_or_else(String::new, |problem| format!(": {}", chain(&**problem))))]
    NoLog {
        url: String,
        /// What went wrong; none where no answer came in time.
        problem: Option<Arc<Problem>>,
    },
    /// The key log that the keys service shows is not our HSM's.
    #[error("the HSM's key log does not verify")]
    Log(#[source] Arc<TerminalError>),
    /// The key log lacks an event that we have seen.
    #[error("the HSM's key log has lost an event that this device has seen")]
    Rollback,
    /// The server that replied has no endorsement.
    #[error("the server's response key is not known to the keys service")]
    NotEndorsed,
    /// What should be the endorsement is none.
    #[error("the server's endorsement is malformed")]
    EndorsementForm(#[source] hsmd_chain::signed_payload::SignedFormError),
    /// The server's endorsement is not valid.
    #[error("the server's response key is not endorsed by our HSM")]
    Endorsement(#[source] EndorsementError),
    /// Standard output is closed.
    #[error("can't write the answer")]
    Output(#[source] io::Error),
}

impl DeviceError {
    /// The code of a refusal, for example `BA104`.
    pub(crate) fn refusal(&self) -> Option<(u16, &str)> {
        match self {
            Self::Refused { status, reply } => Some((*status, &reply.code)),
            _ => None,
        }
    }
}
