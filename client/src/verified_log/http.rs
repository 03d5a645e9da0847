//! The key log over HTTP: `GET /hsm/keys` and `GET /hsm/head` of the keys service or hsmd-gateway, polled.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hsmd_chain::{HeadError, HeadStatement, KeyLog, SignedEvent};
use http::uri::{PathAndQuery, Scheme};
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
const MAX_LOG: usize = 64 << 20;

/// The largest head statement accepted; it has about 400 bytes.
const MAX_STATEMENT: usize = 4 << 10;

/// How long connecting may take, shared by the addresses of one family: one that drops packets hides no other.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long one question may take.
const POLL_TIMEOUT: Duration = Duration::from_secs(5);

/// A keys service's published log, polled with `If-None-Match`, so that an unchanged log costs a few
/// hundred bytes, and its newest head statement. Plain HTTP only: see
/// [`LogSource::Http`](super::LogSource::Http) for what that means.
#[derive(Clone, Debug)]
pub struct HttpLog {
    log: Uri,
    head: Uri,
    interval: Duration,
    client: Arc<Client<HttpConnector, Empty<Bytes>>>,
}

/// What an exchange brought: the body and its entity tag.
type Found = (Bytes, Option<HeaderValue>);

impl HttpLog {
    /// Reads from `http://host:port`, where the log is at `/hsm/keys`, or from a URL with a path of
    /// its own. The head statement is at `head` beside the log. Polls twice a second; see
    /// [`interval`](Self::interval).
    pub fn new(url: &str) -> Result<Self, ConnectError> {
        let malformed = || ConnectError::Endpoint(url.to_owned());
        let mut parts = url.parse::<Uri>().map_err(|_| malformed())?.into_parts();
        if parts.scheme != Some(Scheme::HTTP) || parts.authority.is_none() {
            return Err(malformed());
        }
        if parts.path_and_query.as_ref().is_none_or(|path| path.as_str() == "/") {
            parts.path_and_query = Some(PathAndQuery::from_static("/hsm/keys"));
        }
        let log = Uri::from_parts(parts).map_err(|_| malformed())?;
        let folder = log.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut beside = log.clone().into_parts();
        beside.path_and_query = Some(format!("{folder}/head").parse().map_err(|_| malformed())?);
        let head = Uri::from_parts(beside).map_err(|_| malformed())?;
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Arc::new(Client::builder(TokioExecutor::new()).build(connector));
        Ok(Self { log, head, interval: Duration::from_millis(500), client })
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
            if let Some((log, tag)) = self.get(&self.log, etag.as_ref(), MAX_LOG).await? {
                let taker = Arc::clone(shared);
                // Parsing and verifying a long log takes its time.
                let taken = tokio::task::spawn_blocking(move || take(&log, &taker)).await;
                taken.map_err(|error| unreachable(&self.log, error))??;
                etag = tag;
            }
            let statement = self.statement().await;
            match statement.and_then(|it| shared.keep_statement(it).map_err(Problem::Head)) {
                Ok(age) => shared.confirmed_ago(age)?,
                // After an event the next statement takes some seconds.
                Err(Problem::Head(error))
                    if is_of_another_head(&error) && shared.fresh().is_ok() => {}
                // The log is good, so it is not fetched anew.
                Err(problem) => shared.note(problem),
            }
            shared.save().await;
            let _elapsed = timeout(self.interval, shared.poke.notified()).await;
        }
    }

    async fn statement(&self) -> Result<HeadStatement, Problem> {
        let Some((json, _)) = self.get(&self.head, None, MAX_STATEMENT).await? else {
            let status = StatusCode::NOT_MODIFIED.as_u16();
            return Err(Problem::HttpStatus { url: self.head.to_string(), status });
        };
        HeadStatement::parse(&json).map_err(|source| Problem::HeadForm {
            url: self.head.to_string(),
            source: Box::new(source),
        })
    }

    /// What is at `uri`; `None` if it is still what `etag` names.
    async fn get(
        &self,
        uri: &Uri,
        etag: Option<&HeaderValue>,
        limit: usize,
    ) -> Result<Option<Found>, Problem> {
        let mut request = Request::get(uri);
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        let request = request.body(Empty::new()).map_err(|error| unreachable(uri, error))?;
        let exchange = async {
            let response = self.client.request(request).await;
            let response = response.map_err(|error| unreachable(uri, error))?;
            match response.status() {
                StatusCode::NOT_MODIFIED if etag.is_some() => return Ok(None),
                StatusCode::OK => {}
                status => {
                    let (url, status) = (uri.to_string(), status.as_u16());
                    return Err(Problem::HttpStatus { url, status });
                }
            }
            let tag = response.headers().get(header::ETAG).cloned();
            let body = Limited::new(response.into_body(), limit).collect().await;
            Ok(Some((body.map_err(|error| unreachable(uri, error))?.to_bytes(), tag)))
        };
        timeout(POLL_TIMEOUT, exchange).await.map_err(|elapsed| unreachable(uri, elapsed))?
    }
}

fn take(json: &[u8], shared: &Shared) -> Result<(), Fault> {
    let events: Vec<SignedEvent> = KeyLog::parse_json(json).map_err(Problem::Log)?;
    if shared.snapshot().is_none() { shared.adopt(events) } else { shared.catch_up(events) }
}

/// Whether log and statement are perhaps only of different instants.
fn is_of_another_head(error: &HeadError) -> bool {
    error.is_ahead() || matches!(error, HeadError::Behind { .. })
}

fn unreachable(uri: &Uri, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Problem {
    Problem::Http { url: uri.to_string(), source: source.into() }
}
