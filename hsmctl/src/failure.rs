//! How a command can fail: what is said on standard error, and the exit code.

use std::error::Error;
use std::process::ExitCode;

use hsmd_client::{CallError, Code, ConnectError};
use hsmd_support::chain;

/// The documented exit codes other than 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 1: failed or refused.
    Failed,
    /// 2: verification failed.
    Unverified,
    /// 64: bad usage or configuration.
    Usage,
    /// 69: the daemon can't be reached, is not ready or did not answer in time.
    Unavailable,
}

/// Why a command ends without success.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    /// What is wrong; empty when everything has been said on standard output.
    message: String,
    /// What to do about it.
    advice: Option<String>,
}

impl Failure {
    /// A failure whose text is the error with all its causes.
    pub(crate) fn new(kind: Kind, error: &(dyn Error + 'static)) -> Self {
        Self::text(kind, chain(error))
    }

    /// A failure in our own words.
    pub(crate) fn text(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), advice: None }
    }

    /// A failure of which standard output has told already.
    pub(crate) fn told(kind: Kind) -> Self {
        Self::text(kind, "")
    }

    /// Adds what to do, in place of other advice.
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// What standard error is told, without a newline at the end; empty when nothing is.
    pub(crate) fn report(&self) -> String {
        match (&*self.message, &self.advice) {
            ("", None) => String::new(),
            (message, None) => format!("hsmctl: {message}"),
            (message, Some(advice)) => format!("hsmctl: {message}\n  {advice}"),
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.kind {
            Kind::Failed => 1,
            Kind::Unverified => 2,
            Kind::Usage => 64,
            Kind::Unavailable => 69,
        })
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let kind = match error.code() {
            Code::Unavailable | Code::DeadlineExceeded => Kind::Unavailable,
            _ => Kind::Failed,
        };
        Self::new(kind, &error).advise(error.advice())
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let advice = match &error {
            ConnectError::Endpoint(_) => {
                "Set --endpoint or --admin-endpoint (HSMD_ENDPOINT, HSMD_ADMIN_ENDPOINT)."
            }
            ConnectError::TlsMissing(_) => {
                "Give --ca-file, --cert-file and --key-file (HSMD_CA_FILE, HSMD_CERT_FILE, HSMD_KEY_FILE)."
            }
            ConnectError::File(_) => {
                "Correct the file, or name another one: --ca-file, --cert-file, --key-file."
            }
            ConnectError::Tls { .. } => {
                "Certificate and key must belong together: --cert-file and --key-file."
            }
            ConnectError::ServerName(_) => "Correct --server-name, or the endpoint's host.",
        };
        Self::new(Kind::Usage, &error).advise(advice)
    }
}

/// Output that can't be written: a reader that has gone away (`hsmctl log | head`) needs no words.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::told(Kind::Failed)
        } else {
            Self::text(Kind::Failed, format!("can't write the output: {}", chain(&error)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_in_a_connection_has_its_advice() {
        let missing = Failure::from(ConnectError::TlsMissing("https://hsm:1".into()));
        assert!(missing.report().contains("--ca-file, --cert-file and --key-file"));
        assert!(!missing.report().contains("--admin-endpoint"));
        let endpoint = Failure::from(ConnectError::Endpoint("hsm".into()));
        assert!(endpoint.report().contains("--admin-endpoint"));
        let name = Failure::from(ConnectError::ServerName("a b".into()));
        assert!(name.report().contains("--server-name"));
    }
}
