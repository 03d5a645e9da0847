//! What a caller gets instead of an answer.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use hsmd_client::{CallError, CheckError, Code};
use hsmd_support::chain;
use serde_json::json;

/// A refusal: its status, hsmd's reason if it was hsmd's, and a sentence for the service's log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: StatusCode,
    reason: Option<String>,
    sentence: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self { status, reason: None, sentence: sentence.into() }
    }

    pub(crate) fn bad(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, sentence)
    }
}

impl From<CallError> for Refusal {
    fn from(error: CallError) -> Self {
        let status = match error.code() {
            Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
            Code::PermissionDenied | Code::Unauthenticated => StatusCode::FORBIDDEN,
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Code::Unavailable | Code::FailedPrecondition | Code::Aborted => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            _ => StatusCode::BAD_GATEWAY,
        };
        let reason = error.reason().map(str::to_owned);
        Self { status, reason, sentence: format!("{}: {}", chain(&error), error.advice()) }
    }
}

/// The log can't be relied on now.
impl From<CheckError> for Refusal {
    fn from(error: CheckError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, chain(&error))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, reason, sentence } = self;
        tracing::warn!(status = status.as_u16(), reason, "refused: {sentence}");
        let mut body = json!({"error": sentence});
        if let Some(reason) = reason {
            body["reason"] = reason.into();
        }
        (status, Json(body)).into_response()
    }
}
