//! The key log over HTTP: `GET /hsm/keys` of the keys service, polled.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hsmd_chain::{KeyLog, SignedEvent};
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use super::Problem;
use super::error::Fault;
use super::state::Shared;
use crate::ConnectError;

/// The largest log accepted: about 100 000 events.
const MAX_BODY: usize = 64 << 20;

/// How long one poll may take.
const POLL_TIMEOUT: Duration = Duration::from_secs(5);

/// A keys service's published log, polled with `If-None-Match`, so that an unchanged log costs a few
/// hundred bytes. Plain HTTP only: see [`LogSource::Http`](super::LogSource::Http) for what that
/// means.
#[derive(Clone, Debug)]
pub struct HttpLog {
    uri: Uri,
    interval: Duration,
    client: Arc<Client<HttpConnector, Empty<Bytes>>>,
}

impl HttpLog {
    /// Reads from `http://host:port`, where the log is at `/hsm/keys`, or from a URL with a path of
    /// its own. Polls twice a second; see [`interval`](Self::interval).
    pub fn new(url: &str) -> Result<Self, ConnectError> {
        let malformed = || ConnectError::Endpoint(url.to_owned());
        let mut parts = url.parse::<Uri>().map_err(|_| malformed())?.into_parts();
        if parts.scheme != Some(http::uri::Scheme::HTTP) || parts.authority.is_none() {
            return Err(malformed());
        }
        if parts.path_and_query.as_ref().is_none_or(|path| path.as_str() == "/") {
            parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/hsm/keys"));
        }
        let uri = Uri::from_parts(parts).map_err(|_| malformed())?;
        let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        Ok(Self { uri, interval: Duration::from_millis(500), client: Arc::new(client) })
    }

    /// Sets how often the service is asked. A taint goes unnoticed for as long.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    pub(super) async fn follow(&self, shared: &Arc<Shared>) -> Result<Infallible, Fault> {
        let mut etag = None;
        loop {
            if let Some(log) = self.poll(&mut etag).await? {
                let shared = Arc::clone(shared);
                // Parsing and verifying a long log takes its time.
                let taken = tokio::task::spawn_blocking(move || take(&log, &shared)).await;
                taken.map_err(|error| self.unreachable(Box::new(error)))??;
            }
            shared.confirmed()?;
            shared.save().await;
            let _elapsed = timeout(self.interval, shared.poke.notified()).await;
        }
    }

    /// The log if it has changed since `etag`, which is then the new one's.
    async fn poll(&self, etag: &mut Option<HeaderValue>) -> Result<Option<Bytes>, Problem> {
        let mut request = Request::get(&self.uri);
        if let Some(etag) = &*etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        let request =
            request.body(Empty::new()).map_err(|error| self.unreachable(Box::new(error)))?;
        let exchange = async {
            let response = self
                .client
                .request(request)
                .await
                .map_err(|error| self.unreachable(Box::new(error)))?;
            match response.status() {
                StatusCode::NOT_MODIFIED if etag.is_some() => return Ok(None),
                StatusCode::OK => {}
                status => {
                    let url = self.uri.to_string();
                    return Err(Problem::HttpStatus { url, status: status.as_u16() });
                }
            }
            let new = response.headers().get(header::ETAG).cloned();
            let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
            Ok(Some((new, body.map_err(|error| self.unreachable(error))?.to_bytes())))
        };
        let answer = timeout(POLL_TIMEOUT, exchange)
            .await
            .map_err(|elapsed| self.unreachable(Box::new(elapsed)))??;
        Ok(answer.map(|(new, body)| {
            *etag = new;
            body
        }))
    }

    fn unreachable(&self, source: Box<dyn std::error::Error + Send + Sync>) -> Problem {
        Problem::Http { url: self.uri.to_string(), source }
    }
}

fn take(json: &[u8], shared: &Shared) -> Result<(), Fault> {
    let events: Vec<SignedEvent> = KeyLog::parse_json(json).map_err(Problem::Log)?;
    if shared.snapshot().is_none() { shared.adopt(events) } else { shared.catch_up(events) }
}
