//! What a call to the daemon can end in besides an answer, and what to do about it.

use std::error::Error;
use std::time::Duration;

use hsmd_support::tls::PemError;
use tonic::{Code, Status, TimeoutExpired};
use tonic_types::StatusExt;

/// Why a call got no answer that can be used.
///
/// [`CallError::code`] and [`CallError::reason`] are stable and meant for branching, the text is for
/// people. [`CallError::advice`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The daemon answered with an error.
    #[error("{method}: {message} ({code:?}{})", reason.as_deref().map(|r| format!(", {r}")).unwrap_or_default())]
    Refused {
        /// The RPC, for example `Endorse`.
        method: &'static str,
        /// The gRPC status code.
        code: Code,
        /// The `reason` of the answer's `google.rpc.ErrorInfo`, if it came with one.
        reason: Option<String>,
        /// The daemon's words.
        message: String,
    },

    /// There is no connection to the daemon, or it broke before the answer: what the call asked for
    /// may have been done.
    #[error("{method}: no connection to {endpoint}")]
    Connection {
        /// The RPC.
        method: &'static str,
        /// Whom we tried to reach.
        endpoint: String,
        /// The transport's error.
        #[source]
        source: TransportError,
    },

    /// No answer came in time: what the call asked for may have been done.
    #[error("{method}: no answer from {endpoint} within {}.{:03} s", deadline.as_secs(), deadline.subsec_millis())]
    Deadline {
        /// The RPC.
        method: &'static str,
        /// Whom we asked.
        endpoint: String,
        /// How long we waited, all attempts together.
        deadline: Duration,
    },

    /// The daemon's answer lacks something or is not in the documented form.
    #[error("{method}: the answer's {field} is missing or malformed")]
    Malformed {
        /// The RPC.
        method: &'static str,
        /// The answer's field.
        field: &'static str,
    },
}

impl CallError {
    /// Sorts a status into an error of the daemon or one of the transport.
    pub(crate) fn new(method: &'static str, endpoint: &str, deadline: Duration, s: Status) -> Self {
        let endpoint = endpoint.to_owned();
        // tonic enforces the remaining time that travels with the request on our side as well.
        if causes(&s).any(|cause| cause.is::<TimeoutExpired>()) {
            return Self::Deadline { method, endpoint, deadline };
        }
        // A status that came over the wire has no source: with one, tonic made it from an I/O,
        // HTTP/2 or TLS error of ours.
        if let Some(cause) = causes(&s).last() {
            return Self::Connection {
                method,
                endpoint,
                source: TransportError(cause.to_string()),
            };
        }
        let reason = s.get_error_details().error_info().map(|info| info.reason.clone());
        if s.code() == Code::DeadlineExceeded && reason.is_none() {
            return Self::Deadline { method, endpoint, deadline };
        }
        let message = if s.message().is_empty() { s.code().description() } else { s.message() };
        Self::Refused { method, code: s.code(), reason, message: message.to_owned() }
    }

    /// The gRPC code, `UNAVAILABLE` for a lost connection.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Refused { code, .. } => *code,
            Self::Connection { .. } => Code::Unavailable,
            Self::Deadline { .. } => Code::DeadlineExceeded,
            Self::Malformed { .. } => Code::Internal,
        }
    }

    /// The daemon's stable reason, for example `CALLER_UNKNOWN`, if it gave one.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused { reason, .. } => reason.as_deref(),
            _ => None,
        }
    }

    /// Whether the same call may succeed later without anybody changing anything. It says nothing
    /// about whether a second call is harmless: see the method that was called.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.code(),
            Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Aborted
        ) && self.reason() != Some("BATCH_TOO_LARGE")
    }

    /// What to do, one sentence for a person.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self.reason() {
            Some("CALLER_UNKNOWN") => {
                "Add a [[caller]] (or [[admin]]) for this user to hsmd.toml, or run it as one that is listed."
            }
            Some("PURPOSE_NOT_ALLOWED") => {
                "Ask for a purpose that hsmd.toml allows this caller, or add it there."
            }
            Some("CALLER_AMBIGUOUS") => "Use a certificate with the names of one caller only.",
            Some("CERTIFICATE_EXPIRED") => "Renew the certificate and connect again.",
            Some("UNKNOWN_GENERATION") => {
                "Take the id from `hsmctl status` or `hsmctl log`. Is this the daemon that you mean?"
            }
            Some("RATE_LIMITED") => "Slow down, or raise this caller's `rate` in hsmd.toml.",
            Some("BYTES_IN_FLIGHT") => {
                "Take the replies and make fewer calls at once, or raise `limits` in hsmd.toml."
            }
            Some("EXPIRED_IN_QUEUE") => {
                "Give the call more time (--timeout); if it lasts, the token is slow or overloaded."
            }
            Some("JOURNAL_UNAVAILABLE") => {
                "See the disk of state_dir on the daemon's machine; nothing has changed."
            }
            Some("INTERNAL") => "See the daemon's log, and report it with the request id.",
            Some("TTL_TOO_LONG") => "Ask for less than the caller's max_ttl in hsmd.toml.",
            Some("READ_NOT_ALLOWED") => "Set read_log = true for this caller in hsmd.toml.",
            Some("ACTION_NOT_ALLOWED") => {
                "Add the action to this [[admin]]'s `allow` in hsmd.toml."
            }
            Some("NOT_HEAD") => {
                "The log has moved on: look at `hsmctl log`, then decide about the new head."
            }
            Some("CLOCK_SUSPECT") => {
                "Compare the clocks of the daemon's and the database's machine (chrony, timedatectl)."
            }
            Some("NEXT_KEY_MISSING") => {
                "The committed next key is not in the token: restore it from the token's backup."
            }
            Some("QUEUE_FULL") => {
                "Wait and try again; if it lasts, the token is slow or overloaded."
            }
            Some("BATCH_TOO_LARGE") => "Send at most 256 documents in a batch.",
            Some("BEYOND_HEAD") => {
                "The daemon knows less than the reader: check for a restored backup before trusting it."
            }
            Some("STARTING") => {
                "Wait until the daemon is ready; `hsmctl status` says what it lacks."
            }
            Some("STANDBY") => "Ask the daemon that holds the writer lock.",
            Some("STOPPING") => "Wait until the daemon is back.",
            Some("TOKEN_UNAVAILABLE") => "See `hsmctl status`: the token can't be reached.",
            Some("DATABASE_UNAVAILABLE" | "LOCK_LOST") => {
                "See `hsmctl status`: the database can't be reached or the lock is lost."
            }
            Some("TAINT_IN_PROGRESS") => "A taint is running: try again in a moment.",
            _ => self.advice_by_code(),
        }
    }

    fn advice_by_code(&self) -> &'static str {
        match (self, self.code()) {
            (Self::Connection { source, .. }, _) if source.is_of_tls() => {
                "Check the certificates: --ca-file must be the authority of the daemon's certificate, \
                 --server-name its name, and ours not expired and from the daemon's client_ca."
            }
            (Self::Connection { .. }, _) => {
                "Check that hsmd runs, that the endpoint is right and that you may open the socket."
            }
            (Self::Malformed { .. }, _) => {
                "Check that the endpoint is hsmd's and that both have the same version."
            }
            (_, Code::DeadlineExceeded) => "Look at `hsmctl status`, then try again.",
            (_, Code::Unimplemented) => {
                "Check the endpoint: the service and the admin listener are two sockets, and over https \
                 two ports (listen.tls and listen.admin_tls)."
            }
            (_, Code::PermissionDenied | Code::Unauthenticated) => {
                "Check who may do this in hsmd.toml."
            }
            (_, Code::InvalidArgument) => "Correct the request.",
            (_, Code::Unavailable | Code::ResourceExhausted | Code::Aborted) => "Try again later.",
            _ => "See the daemon's log.",
        }
    }
}

/// What the transport says: the first cause of its error, without the layers in between.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TransportError(String);

impl TransportError {
    /// Whether the handshake or an alert ended it: not the way there, but who may go it.
    fn is_of_tls(&self) -> bool {
        self.0.contains("TLS with ")
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

/// Why no client could be made: the configuration is at fault, nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The endpoint is none of the documented forms.
    #[error(
        "endpoint {0:?} is not unix:///path, https://host:port or http://<loopback address>:port"
    )]
    Endpoint(String),

    /// `https` needs the caller's certificate.
    #[error("endpoint {0} needs a CA, a certificate and a key (mutual TLS)")]
    TlsMissing(String),

    /// A file of the TLS configuration can't be used.
    #[error(transparent)]
    File(#[from] PemError),

    /// Certificate and key don't fit together.
    #[error("can't use the certificate and key for {endpoint}")]
    Tls {
        /// The endpoint.
        endpoint: String,
        /// What rustls refused.
        #[source]
        source: rustls::Error,
    },

    /// The name that the daemon's certificate must carry is none.
    #[error("{0:?} is neither a DNS name nor an address")]
    ServerName(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each reason of docs/errors.md that a person can do something about has advice of its own.
    #[test]
    fn every_documented_reason_has_advice() {
        let documented = include_str!("../../docs/errors.md");
        let rows = documented.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let mut seen = 0;
        for (reason, rest) in rows {
            // What the caller's program sent is corrected in the program; an ended watch is watched again.
            if reason.starts_with("MALFORMED_")
                || rest.contains("INVALID_ARGUMENT")
                || reason == "CONNECTION_AGE"
            {
                continue;
            }
            seen += 1;
            let refused = |reason: Option<&str>| CallError::Refused {
                method: "Sign",
                code: Code::Unknown,
                reason: reason.map(str::to_owned),
                message: String::new(),
            };
            assert_ne!(refused(Some(reason)).advice(), refused(None).advice(), "{reason}");
        }
        assert!(seen > 15, "{seen}");
    }

    #[test]
    fn a_refused_certificate_is_told_from_a_closed_port() {
        let advice = |text: &str| {
            let source = TransportError(text.to_owned());
            CallError::Connection { method: "Status", endpoint: String::new(), source }.advice()
        };
        assert!(
            advice("TLS with 127.0.0.1:1: received fatal alert: UnknownCA").contains("--ca-file")
        );
        assert!(advice("cannot connect to hsm:1: Connection refused").contains("hsmd runs"));
    }
}
