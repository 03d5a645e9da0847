//! A running keys service, the log that it follows, and its Redis.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, http::HeaderMap};
use bytes::Bytes;
use hsmd_chain::{Anchor, Digest, PublicKey, Timestamp, testing::LogBuilder};
use hsmd_client::{Clock, HttpLog, LogOptions, LogSource, VerifiedLog};
use hsmd_keys::Keys;
use hsmd_runtime::{ServeOptions, Shutdown, Trigger, WhenFull, serve};
use hsmd_store::Store;
use hsmd_tests::{Head, Published, RedisServer, until};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::net::TcpListener;

/// A running service.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) redis: RedisServer,
    pub(crate) store: Store,
    pub(crate) router: Router,
    pub(crate) source: Published,
    _trigger: Trigger,
}

impl Service {
    /// Starts the service at `now` and waits until it is ready.
    pub(crate) async fn start(log: &LogBuilder, now: Timestamp) -> Self {
        Self::start_on(RedisServer::start().await.unwrap(), log, now).await
    }

    /// The same with a Redis that perhaps holds something.
    pub(crate) async fn start_on(redis: RedisServer, log: &LogBuilder, now: Timestamp) -> Self {
        let service = Self::launch(redis, log, now, Duration::from_secs(60)).await;
        service.until_ready().await;
        service
    }

    pub(crate) async fn start_unready(
        log: &LogBuilder,
        now: Timestamp,
        max_staleness: Duration,
    ) -> Self {
        Self::launch(RedisServer::start().await.unwrap(), log, now, max_staleness).await
    }

    async fn launch(
        redis: RedisServer,
        log: &LogBuilder,
        now: Timestamp,
        max_staleness: Duration,
    ) -> Self {
        let source = Published::start(log).await;
        *source.keys.head.lock() = Head::At(now);
        let store = redis.store().unwrap();
        let polled = HttpLog::new(&source.url()).unwrap().interval(Duration::from_millis(20));
        let clock = Clock::new(move || now);
        let options = LogOptions { max_staleness, clock: clock.clone(), ..LogOptions::default() };
        let anchor = Anchor::new(log.identity());
        let verified = VerifiedLog::follow(LogSource::Http(polled), anchor, options).unwrap();
        let router = Keys::new(verified, store.clone(), clock).router();
        let (address, trigger) = start(router.clone()).await;
        Self { address, redis, store, router, source, _trigger: trigger }
    }

    pub(crate) async fn until_ready(&self) {
        self.until("/ready", |answer| answer.status == 200).await;
    }

    pub(crate) async fn until(&self, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        until(path, async || Some(self.get(path).await).filter(&wanted)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[]).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        ask(self.address, method, path, headers, String::new()).await
    }

    /// Endorses a key and stores it as a server would.
    pub(crate) async fn publish(
        &self,
        log: &LogBuilder,
        generation: usize,
        key: &PublicKey,
        until: Timestamp,
    ) -> String {
        let text = log.endorse(generation, "response", key, until).to_json();
        self.store.response_endorsements.publish(key, &text, FAR.parse().unwrap()).await.unwrap();
        text
    }

    /// Runs one command in a database of the service's Redis.
    pub(crate) async fn redis(&self, database: u8, words: &[&str]) {
        let script = format!("redis.call('SELECT', {database}) return redis.call(unpack(ARGV))");
        let mut command = vec!["EVAL", &script, "0"];
        command.extend(words);
        self.redis.command(&command).await.unwrap();
    }

    /// The mirrored text of an event.
    pub(crate) async fn mirrored(&self, id: &Digest) -> Option<Vec<u8>> {
        self.store.mirrored_log.find(id).await.ok().flatten()
    }
}

/// When nothing has expired.
pub(crate) const FAR: &str = "2999-01-01T00:00:00.000Z";

/// Serves a router on a free port until the trigger is dropped.
pub(crate) async fn start(router: Router) -> (SocketAddr, Trigger) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (trigger, shutdown) = Shutdown::new();
    let options = ServeOptions {
        max_connections_per_address: 64,
        max_connections: 64,
        when_full: WhenFull::Wait,
        connection_timeout: None,
        request_timeout: Duration::from_secs(10),
        stop_grace: Duration::from_millis(100),
    };
    tokio::spawn(serve(listener, router, options, shutdown));
    (address, trigger)
}

/// An HTTP answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: String,
) -> Answer {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut request =
        axum::http::Request::builder().method(method).uri(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    let response = client.request(request).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let text = body.collect().await.expect("a body").to_bytes();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        text: String::from_utf8(text.to_vec()).expect("text"),
    }
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}
