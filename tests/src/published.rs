//! A fake of the keys service: a log, published over HTTP as that does, whatever the log says.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get};
use hsmd_chain::Digest;
use hsmd_chain::testing::LogBuilder;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A server on a free port of the loopback. Dropping it ends it.
#[derive(Debug)]
pub struct Published {
    /// What it answers.
    pub keys: Arc<Keys>,
    address: SocketAddr,
    server: JoinHandle<std::io::Result<()>>,
}

/// What is published, and how many answers there were that said nothing new.
#[derive(Debug, Default)]
pub struct Keys {
    /// The text of the log, or of anything else.
    pub text: Mutex<String>,
    /// Whether every answer is 503.
    pub down: Mutex<bool>,
    /// How often the answer was 304.
    pub unchanged: watch::Sender<usize>,
}

impl Published {
    /// Publishes a log.
    pub async fn start(log: &LogBuilder) -> Self {
        let keys = Arc::<Keys>::default();
        let app = Router::new().route("/hsm/keys", get(answer)).with_state(Arc::clone(&keys));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(axum::serve(listener, app).into_future());
        let published = Self { keys, address, server };
        published.publish(log);
        published
    }

    /// Publishes another log in its place.
    pub fn publish(&self, log: &LogBuilder) {
        *self.keys.text.lock() = log.to_json();
    }

    /// Where it is published.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(keys): State<Arc<Keys>>, headers: HeaderMap) -> Response {
    if *keys.down.lock() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let text = keys.text.lock().clone();
    let etag = format!("\"{}\"", Digest::of(text.as_bytes()));
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| *known == *etag) {
        keys.unchanged.send_modify(|count| *count += 1);
        return StatusCode::NOT_MODIFIED.into_response();
    }
    ([(header::ETAG, etag)], text).into_response()
}
