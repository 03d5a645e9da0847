//! How a request ends that is not granted, and its one form on the wire.

mod refusals;

use std::{borrow::Cow, time::Duration};

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use hsmd_support::chain;
pub(crate) use refusals::*;
use serde::Serialize;

use crate::{keys::NotReady, sessions::NoSession};

/// The library's name of [`RETRY_AFTER`], which its client reads.
const X_RETRY_AFTER: HeaderName = HeaderName::from_static("x-retry-after");

/// A refusal with a fixed text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// The library's code, where it has one.
    pub(crate) code: Option<&'static str>,
    pub(crate) message: &'static str,
}

/// Why a request is not granted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The library's refusals.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// The body is not of the documented form.
    #[error("{0}")]
    Validation(String),
    /// The body's type is not one that the route takes.
    #[error("{0}")]
    MediaType(String),
    /// The route needs a session.
    #[error("{}", UNAUTHORIZED.message)]
    NoSession(NoSession),
    /// There is nothing under this path and method.
    #[error("not found")]
    NotFound,
    /// A limit is reached.
    #[error("too many requests")]
    TooMany {
        /// When to come again.
        retry_after: Duration,
    },
    /// A part that is needed does not answer now; the detail goes to the log only.
    #[error("not available")]
    Unavailable {
        /// When to come again.
        retry_after: Duration,
        /// What the part reported.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A fault of ours; the detail goes to the log only.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What a failure's answer hands to the outermost layer, which logs it with the request's id.
#[derive(Clone, Debug)]
pub(crate) struct Failure(pub(crate) String);

/// What an answer carries to the outermost layer, which makes the browser forget its session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClearSession;

/// The body of every error.
#[derive(Serialize)]
struct Body<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    /// The message again, for clients of plain REST.
    error: &'a str,
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error::{Database, Io, PoolClosed, PoolTimedOut, Tls, WorkerCrashed};
        let unavailable = match &error {
            Io(_) | Tls(_) | PoolTimedOut | PoolClosed | WorkerCrashed => true,
            // Connection exceptions, resources, operator's intervention (statement timeout, shutdown),
            // a read-only standby, serialization, tables that are still to be made.
            Database(error) => error.code().is_some_and(|code| {
                ["08", "53", "57", "25006", "40", "42P01"]
                    .iter()
                    .any(|class| code.starts_with(class))
            }),
            _ => false,
        };
        match unavailable {
            true => Self::Unavailable { retry_after: Duration::from_secs(1), source: error.into() },
            false => Self::Internal(error.into()),
        }
    }
}

impl From<NotReady> for ApiError {
    fn from(error: NotReady) -> Self {
        Self::Unavailable { retry_after: Duration::from_secs(1), source: error.into() }
    }
}

impl ApiError {
    fn parts(&self) -> (StatusCode, Option<&'static str>, Cow<'_, str>) {
        match self {
            Self::Refused(refusal) => {
                (refusal.status, refusal.code, Cow::Borrowed(refusal.message))
            }
            Self::NoSession(_) => {
                (UNAUTHORIZED.status, UNAUTHORIZED.code, Cow::Borrowed(UNAUTHORIZED.message))
            }
            Self::Validation(text) => {
                (StatusCode::BAD_REQUEST, Some("VALIDATION_ERROR"), Cow::Borrowed(text))
            }
            Self::MediaType(text) => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                Some("UNSUPPORTED_MEDIA_TYPE"),
                Cow::Borrowed(text),
            ),
            Self::NotFound => (StatusCode::NOT_FOUND, None, Cow::Borrowed("")),
            Self::TooMany { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                None,
                Cow::Borrowed("Too many requests. Please try again later."),
            ),
            Self::Unavailable { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                Some("SERVICE_UNAVAILABLE"),
                Cow::Borrowed("Service unavailable. Please try again later."),
            ),
            Self::Internal(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                Some("INTERNAL_SERVER_ERROR"),
                Cow::Borrowed("Internal server error"),
            ),
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.parts().0
    }

    pub(crate) fn message(&self) -> String {
        self.parts().2.into_owned()
    }

    /// Whole seconds, rounded up: who comes back after them is not too early.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooMany { retry_after } | Self::Unavailable { retry_after, .. } => {
                Some(retry_after.as_millis().div_ceil(1000).max(1).try_into().unwrap_or(u64::MAX))
            }
            _ => None,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if matches!(self, Self::NotFound) {
            return StatusCode::NOT_FOUND.into_response();
        }
        let (status, code, message) = self.parts();
        let mut response =
            (status, Json(Body { message: &message, code, error: &message })).into_response();
        if let Some(seconds) = self.retry_after() {
            let value = HeaderValue::from(seconds);
            response.headers_mut().insert(RETRY_AFTER, value.clone());
            response.headers_mut().insert(X_RETRY_AFTER, value);
        }
        if let Self::NoSession(reason) = self
            && reason.clears()
        {
            response.extensions_mut().insert(ClearSession);
        }
        if matches!(self, Self::Unavailable { .. } | Self::Internal(_)) {
            response.extensions_mut().insert(Failure(chain(&self)));
        }
        response
    }
}
