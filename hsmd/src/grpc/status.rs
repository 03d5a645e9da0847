//! From errors to gRPC status: a code, a message that says what to do, and an `ErrorInfo` with a
//! stable reason to branch on. The one place where that is decided; docs/errors.md lists them.

use std::collections::HashMap;
use std::time::Duration;

use hsmd_proto::ERROR_DOMAIN;
use hsmd_support::chain;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::budget::Exhausted;
use crate::authz::Denied;
use crate::daemon::core::CoreError;
use crate::daemon::state::Phase;
use crate::keylog::KeylogError;
use crate::rotation::RotationError;
use crate::signer::SignError;

pub fn status(
    code: Code,
    reason: &'static str,
    message: impl Into<String>,
    metadata: HashMap<String, String>,
) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, metadata);
    // A batch that is too large stays so.
    if matches!(code, Code::Unavailable | Code::ResourceExhausted) && reason != "BATCH_TOO_LARGE" {
        details.set_retry_info(Some(Duration::from_millis(100)));
    }
    Status::with_error_details(code, message, details)
}

pub fn invalid(reason: &'static str, message: impl Into<String>) -> Status {
    status(Code::InvalidArgument, reason, message, HashMap::new())
}

/// The answer to a call that the policy does not permit.
pub fn denied(denied: &Denied) -> Status {
    let (code, reason) = match denied {
        Denied::MalformedPurpose => (Code::InvalidArgument, "MALFORMED_PURPOSE"),
        Denied::Reserved(_) => (Code::InvalidArgument, "PURPOSE_RESERVED"),
        Denied::WrongKind(..) => (Code::InvalidArgument, "PURPOSE_WRONG_KIND"),
        Denied::OverflowUid => (Code::PermissionDenied, "CALLER_UNKNOWN"),
        Denied::Unknown { .. } => (Code::PermissionDenied, "CALLER_UNKNOWN"),
        Denied::Ambiguous(_) => (Code::PermissionDenied, "CALLER_AMBIGUOUS"),
        Denied::CertificateExpired(_) => (Code::Unauthenticated, "CERTIFICATE_EXPIRED"),
        Denied::Rate { .. } => (Code::ResourceExhausted, "RATE_LIMITED"),
        Denied::Burst { .. } => (Code::ResourceExhausted, "BATCH_TOO_LARGE"),
        Denied::Purpose { .. } | Denied::NoPurpose { .. } => {
            (Code::PermissionDenied, "PURPOSE_NOT_ALLOWED")
        }
        Denied::Ttl { .. } => (Code::PermissionDenied, "TTL_TOO_LONG"),
        Denied::Read(_) => (Code::PermissionDenied, "READ_NOT_ALLOWED"),
        Denied::Action { .. } => (Code::PermissionDenied, "ACTION_NOT_ALLOWED"),
    };
    match denied {
        Denied::Rate { retry_after, .. } => {
            let mut details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, HashMap::new());
            details.set_retry_info(Some(*retry_after));
            Status::with_error_details(code, denied.to_string(), details)
        }
        _ => status(code, reason, denied.to_string(), HashMap::new()),
    }
}

pub fn not_signed(error: &SignError) -> Status {
    let (code, reason) = match error {
        SignError::QueueFull(_) => (Code::ResourceExhausted, "QUEUE_FULL"),
        SignError::Expired => (Code::DeadlineExceeded, "EXPIRED_IN_QUEUE"),
        SignError::NotActive(_) => (Code::Unavailable, "STARTING"),
        SignError::TaintInProgress => (Code::Unavailable, "TAINT_IN_PROGRESS"),
        SignError::LockLost => (Code::Unavailable, "LOCK_LOST"),
        SignError::Token(_) => (Code::Unavailable, "TOKEN_UNAVAILABLE"),
    };
    status(code, reason, error.to_string(), HashMap::new())
}

/// The answer to a call for which there is no memory.
pub fn bytes_in_flight(error: &Exhausted) -> Status {
    status(Code::ResourceExhausted, "BYTES_IN_FLIGHT", error.to_string(), HashMap::new())
}

/// The end of a watch whose connection is as old as it may be.
pub fn connection_age() -> Status {
    let message = "the connection is as old as limits.connection_age allows: watch again";
    status(Code::Unavailable, "CONNECTION_AGE", message, HashMap::new())
}

/// The answer while the daemon is not serving.
pub fn not_serving(phase: &Phase) -> Status {
    let (reason, message) = match phase {
        Phase::Starting(what) => ("STARTING", format!("hsmd is starting: {what}")),
        Phase::Standby => ("STANDBY", "another hsmd serves; this one stands by".into()),
        Phase::Stopping => ("STOPPING", "hsmd is stopping".into()),
        Phase::Serving => ("STARTING", "hsmd is starting".into()),
    };
    status(Code::Unavailable, reason, message, HashMap::new())
}

/// The answer to readers while another daemon may be ahead of this one.
pub fn not_newest(reason: &str) -> Status {
    let message = format!("this daemon's key log may not be the newest: {reason}");
    status(Code::Unavailable, "LOCK_LOST", message, HashMap::new())
}

pub fn not_rotated(error: &RotationError) -> Status {
    let message = chain(error);
    let (code, reason) = match error {
        RotationError::UnknownGeneration(_) => (Code::FailedPrecondition, "UNKNOWN_GENERATION"),
        RotationError::NotHead { head, replaced_at, .. } => {
            let metadata = HashMap::from([
                ("head_id".to_owned(), head.to_string()),
                ("replaced_at".to_owned(), replaced_at.to_string()),
                ("live_until_with_12h_window".to_owned(), live_until(*replaced_at, 12)),
                ("live_until_with_24h_window".to_owned(), live_until(*replaced_at, 24)),
            ]);
            return status(Code::FailedPrecondition, "NOT_HEAD", message, metadata);
        }
        RotationError::NextKeyMissing => (Code::FailedPrecondition, "NEXT_KEY_MISSING"),
        RotationError::ClockSuspect(_) => (Code::FailedPrecondition, "CLOCK_SUSPECT"),
        RotationError::NotDone(source) => core_reason(source),
        RotationError::NotAppended { .. } => (Code::Unavailable, "DATABASE_UNAVAILABLE"),
        RotationError::NotActivated { .. } => (Code::Unavailable, "TOKEN_UNAVAILABLE"),
    };
    tracing::error!(reason, error = message, "rotation failed");
    if code == Code::Internal {
        return status(code, reason, "internal error; the daemon's log says more", HashMap::new());
    }
    status(code, reason, message, HashMap::new())
}

pub fn database_unavailable(error: &KeylogError) -> Status {
    status(Code::Unavailable, "DATABASE_UNAVAILABLE", chain(error), HashMap::new())
}

fn live_until(replaced_at: hsmd_chain::Timestamp, hours: u64) -> String {
    replaced_at.saturating_add(Duration::from_secs(hours * 3600)).to_string()
}

fn core_reason(error: &CoreError) -> (Code, &'static str) {
    match error {
        CoreError::LeaseExpired | CoreError::NotOwner(_) => (Code::Unavailable, "LOCK_LOST"),
        CoreError::Disconnected | CoreError::Keylog(_) | CoreError::Append(_) => {
            (Code::Unavailable, "DATABASE_UNAVAILABLE")
        }
        CoreError::Token(_) | CoreError::KnownKey(_) => (Code::Unavailable, "TOKEN_UNAVAILABLE"),
        CoreError::Stopping(_) => (Code::Unavailable, "STOPPING"),
        CoreError::Clock(_) => (Code::FailedPrecondition, "CLOCK_SUSPECT"),
        CoreError::Journal(_) => (Code::Unavailable, "JOURNAL_UNAVAILABLE"),
        CoreError::Row { .. }
        | CoreError::Log(_)
        | CoreError::Diverged(_)
        | CoreError::Contested(_)
        | CoreError::OlderThanJournal { .. }
        | CoreError::JournalEvent { .. } => (Code::Internal, "INTERNAL"),
    }
}
