//! The key log over HTTP, for readers without gRPC who need not trust the service that they ask.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use hsmd_chain::{Digest, KeyLog};
use hsmd_client::VerifiedLog;
use serde_json::json;

use crate::{
    caching::{JSON, REVALIDATE, tagged, tagged_as},
    log_problem,
};

/// A followed log as it is served. Clones share it.
#[derive(Clone)]
pub struct PublishedLog {
    log: VerifiedLog,
    /// The text of the newest log that was asked for: made once for each head, not for each request. A plain
    /// mutex, never held across an await.
    text: Arc<Mutex<Option<(Digest, Bytes)>>>,
}

impl PublishedLog {
    /// Serves this log.
    #[must_use]
    pub fn new(log: VerifiedLog) -> Self {
        Self { log, text: Arc::default() }
    }

    /// `GET /hsm/keys` and `GET /hsm/head`, where the clients look for them.
    pub fn routes<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        Router::new()
            .route("/hsm/keys", get(keys))
            .route("/hsm/head", get(head))
            .with_state(self.clone())
    }

    /// The key log, tagged with its head's id, as long as we may believe it ourselves: its followers here could
    /// otherwise not notice that it has been frozen.
    #[must_use]
    pub fn answer(&self, request: &HeaderMap) -> Response {
        match self.log.fresh() {
            Ok(log) => {
                let (head, text) = (log.position().id, self.text(&log));
                tagged_as(&head, request, JSON, REVALIDATE, text)
            }
            Err(stale) => {
                let sentence = log_problem(&self.log).unwrap_or_else(|| stale.to_string());
                unavailable(&sentence)
            }
        }
    }

    fn text(&self, log: &KeyLog) -> Bytes {
        let head = log.position().id;
        let mut made = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, text)) = &*made
            && *of == head
        {
            return text.clone();
        }
        let text = Bytes::from(log.to_json());
        *made = Some((head, text.clone()));
        text
    }
}

async fn keys(State(published): State<PublishedLog>, request: HeaderMap) -> Response {
    published.answer(&request)
}

/// The newest head statement, by which a reader who need not trust us knows how new the log is.
async fn head(State(published): State<PublishedLog>, request: HeaderMap) -> Response {
    match published.log.head_statement() {
        Some(statement) => tagged(&request, JSON, REVALIDATE, statement.signed().to_json().into()),
        None => unavailable("there is no head statement that is new enough"),
    }
}

fn unavailable(sentence: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"error": sentence}))).into_response()
}
