//! One unary call: its deadline, and its repetition where that is safe.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::backoff::Backoff;
use crate::connection::Connection;
use crate::{CallError, ConnectError, ConnectOptions};

/// A connection to one listener, and the timeout of its calls.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) connection: Connection,
    pub(crate) endpoint: String,
    deadline: Duration,
    retry: bool,
}

/// Whether a second, identical call does no harm.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    Safe,
    Never,
}

impl Caller {
    pub(crate) fn new(options: &ConnectOptions) -> Result<Self, ConnectError> {
        Ok(Self {
            connection: options.connection()?,
            endpoint: options.endpoint.clone(),
            deadline: options.deadline,
            retry: options.retry,
        })
    }

    /// The same connection with another timeout, for callers with a schedule of their own.
    pub(crate) fn once_within(&self, deadline: Duration) -> Self {
        Self { deadline, retry: false, ..self.clone() }
    }

    /// Calls within the deadline, again and again where `repeat` allows it. The remaining time
    /// travels with each attempt, so that the daemon drops what no caller waits for.
    pub(crate) async fn unary<M, R, F>(
        &self,
        method: &'static str,
        repeat: Repeat,
        message: M,
        mut call: impl FnMut(Channel, Request<M>) -> F,
    ) -> Result<R, CallError>
    where
        M: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let end = Instant::now() + self.deadline;
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        loop {
            let mut request = Request::new(message.clone());
            request.set_timeout(end.saturating_duration_since(Instant::now()));
            let error = match timeout_at(end, call(self.connection.channel(), request)).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => self.error(method, status),
                Err(_) => self.too_late(method),
            };
            let delay = backoff.delay();
            let again = self.retry && repeat == Repeat::Safe && error.is_retryable();
            if !again || Instant::now() + delay >= end {
                return Err(error);
            }
            tracing::debug!(%error, ?delay, "trying again");
            tokio::time::sleep(delay).await;
        }
    }

    pub(crate) fn error(&self, method: &'static str, status: Status) -> CallError {
        CallError::new(method, &self.endpoint, self.deadline, status)
    }

    fn too_late(&self, method: &'static str) -> CallError {
        CallError::Deadline { method, endpoint: self.endpoint.clone(), deadline: self.deadline }
    }
}
