//! A fake of the keys service: a log, published over HTTP as that does, whatever the log says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get};
use hsmd_chain::testing::LogBuilder;
use hsmd_chain::{Digest, Timestamp};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::now;

/// A server on a free port of the loopback. Dropping it ends it.
pub struct Published {
    /// What it answers.
    pub keys: Arc<Keys>,
    address: SocketAddr,
    server: JoinHandle<std::io::Result<()>>,
}

/// How the head statement is found under `/hsm/head`.
#[derive(Clone, Debug, Default)]
pub enum Head {
    /// Made anew for each question, now.
    #[default]
    Now,
    /// Made anew for each question, and said to be of this instant.
    At(Timestamp),
    /// This text, whatever is asked when.
    Kept(String),
}

/// What is published, and how many answers there were that said nothing new.
#[derive(Default)]
pub struct Keys {
    /// The text of the log, or of anything else.
    pub text: Mutex<String>,
    /// What is said about the head.
    pub head: Mutex<Head>,
    /// The log of which `text` was made, and whose head's key signs.
    log: Mutex<Option<LogBuilder>>,
    /// Whether every answer is 503.
    pub down: Mutex<bool>,
    /// How often the answer was 304.
    pub unchanged: watch::Sender<usize>,
}

impl Published {
    /// Publishes a log.
    pub async fn start(log: &LogBuilder) -> Self {
        let keys = Arc::<Keys>::default();
        let app = Router::new()
            .route("/hsm/keys", get(answer))
            .route("/hsm/head", get(head))
            .with_state(Arc::clone(&keys));
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
        *self.keys.log.lock() = Some(log.clone());
    }

    /// From now on the head statement is the one made `ago` for this log.
    pub fn freeze_head(&self, log: &LogBuilder, ago: Duration) {
        self.freeze_head_at(log, now().checked_sub(ago).expect("after 1970"));
    }

    /// From now on the head statement is the one made at this instant for this log.
    pub fn freeze_head_at(&self, log: &LogBuilder, issued_at: Timestamp) {
        let statement = log.head_statement(issued_at);
        *self.keys.head.lock() = Head::Kept(statement.signed().to_json());
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

async fn head(State(keys): State<Arc<Keys>>) -> Response {
    if *keys.down.lock() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let kept = keys.head.lock().clone();
    let issued_at = match kept {
        Head::Kept(text) => return text.into_response(),
        Head::At(instant) => instant,
        Head::Now => now(),
    };
    match &*keys.log.lock() {
        Some(log) => log.head_statement(issued_at).signed().to_json().into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
