//! Everything that the app lives among, replicas of it, and requests to them.

use std::time::Duration;

use axum::body::Bytes;
use hsmd_protocol::PrivateKey;
use hsmd_service::random;
use hsmd_store::Store;
use hsmd_tests::{Output, RedisServer, RunningHsm, RunningService, until};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy, rt::TokioExecutor};
use serde_json::Value;
use tempfile::TempDir;

use crate::session::Session;

/// How far clocks may differ here: short, since a flushed Redis is not believed for as long.
pub(crate) const SKEW: Duration = Duration::from_millis(500);

/// hsmd, Redis, and an access key that hsmd has endorsed, as an auth server has one.
pub(crate) struct Stack {
    pub(crate) hsm: RunningHsm,
    pub(crate) redis: RedisServer,
    pub(crate) store: Store,
    pub(crate) server: PrivateKey,
    folder: TempDir,
}

/// A replica of the app.
pub(crate) struct App {
    pub(crate) process: RunningService,
}

/// An HTTP answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        let hsm = RunningHsm::start().await;
        let redis = RedisServer::start().await.unwrap();
        let store = redis.store().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let stack = Self { hsm, redis, store, server: random::key(), folder };
        stack.publish(&stack.server, "access").await;
        stack.vouch_for_revocations().await;
        stack
    }

    /// Has a key endorsed for a purpose and published as an access key.
    pub(crate) async fn publish(&self, key: &PrivateKey, purpose: &str) {
        let text = self.endorse(key, purpose, Duration::from_secs(3600)).await;
        self.store_endorsement(key, &text).await;
    }

    /// An endorsement of a key, as published.
    pub(crate) async fn endorse(&self, key: &PrivateKey, purpose: &str, ttl: Duration) -> String {
        self.hsm.endorse(purpose, key.public_key(), ttl).await
    }

    pub(crate) async fn store_endorsement(&self, key: &PrivateKey, text: &str) {
        let far = "2999-01-01T00:00:00.000Z".parse().unwrap();
        self.store.access_endorsements.publish(key.public_key(), text, far).await.unwrap();
    }

    /// Writes the marker of Redis 3, as auth does when it has written all revocations.
    pub(crate) async fn vouch_for_revocations(&self) {
        let refill = self.store.revoked_devices.begin_refill(&random::nonce()).await.unwrap();
        assert!(refill.finish(&[]).await.unwrap());
    }

    /// A replica that is ready.
    pub(crate) async fn app(&self) -> App {
        let app = self.unready_app().await;
        app.until_ready().await;
        app
    }

    /// A replica that listens.
    pub(crate) async fn unready_app(&self) -> App {
        let config = self.config();
        App { process: RunningService::start("app", self.folder.path(), &config).await }
    }

    /// What `hsmd-app check` says, with a line of the configuration replaced.
    pub(crate) async fn check(&self, from: &str, to: &str) -> Output {
        let config = self.config().replace(from, to);
        RunningService::check("app", self.folder.path(), &config).await
    }

    fn config(&self) -> String {
        format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n\
             [hsm]\nidentity = \"{}\"\nendpoint = \"{}\"\nmax_staleness = \"12s\"\n\
             [redis]\nurl = \"{}\"\ntimeout = \"5s\"\n[access]\nclock_skew = \"{}ms\"\nmax_body = 20000\n",
            self.hsm.identity,
            self.hsm.endpoint(),
            self.redis.url(),
            SKEW.as_millis(),
        )
    }

    /// A session with a token of our access key.
    pub(crate) fn session(&self) -> Session {
        Session::new(&self.server)
    }
}

impl App {
    /// Posts a request.
    pub(crate) async fn post(&self, body: impl Into<Bytes>) -> Answer {
        self.ask("POST", "/foo/bar", body.into()).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: Bytes) -> Answer {
        let client = legacy::Client::builder(TokioExecutor::new()).build_http();
        let request = axum::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.process.url))
            .header("content-type", "application/json")
            .body(Full::new(body))
            .unwrap();
        let (parts, body) = client.request(request).await.expect("an answer").into_parts();
        let text = body.collect().await.expect("a body").to_bytes().to_vec();
        Answer { status: parts.status.as_u16(), text: String::from_utf8(text).unwrap() }
    }

    pub(crate) async fn status(&self, path: &str) -> Answer {
        self.ask("GET", path, Bytes::new()).await
    }

    pub(crate) async fn until_ready(&self) {
        until("the app", async || self.status("/ready").await.status == 200).await;
    }
}

impl Answer {
    /// The status and the protocol's code.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let value: Value = serde_json::from_str(&self.text).expect("JSON");
        (self.status, value["error"]["code"].as_str().unwrap_or(&self.text).to_owned())
    }
}
