//! `/live`, `/ready` and `/health`: what a supervisor, a balancer and a person ask.

use std::sync::Arc;

use axum::{
    Json, Router,
    http::{HeaderValue, StatusCode, header::CACHE_CONTROL},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};

/// A service's health: a function that says what is wrong now. It is asked for every request, so it
/// looks at state that tasks keep and does no I/O itself.
#[derive(Clone)]
pub struct Health {
    problems: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    details: Arc<dyn Fn() -> Value + Send + Sync>,
}

impl Health {
    /// `problems` says in a sentence each what keeps the service from answering; empty means ready.
    /// The sentences are public.
    pub fn new(problems: impl Fn() -> Vec<String> + Send + Sync + 'static) -> Self {
        Self { problems: Arc::new(problems), details: Arc::new(|| json!({})) }
    }

    /// Adds a JSON object with public facts to the answers of `/health`.
    #[must_use]
    pub fn with_details(mut self, details: impl Fn() -> Value + Send + Sync + 'static) -> Self {
        self.details = Arc::new(details);
        self
    }

    /// Whether nothing is wrong now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        (self.problems)().is_empty()
    }

    /// The routes: `/live` is 200 as long as the process answers, `/ready` and `/health` are 200 or 503.
    pub fn routes<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let (ready, health) = (self.clone(), self.clone());
        Router::new()
            .route("/live", get(async || uncached(StatusCode::OK, json!({"status": "live"}))))
            .route("/ready", get(async move || ready.answer("ready", "not ready", false)))
            .route("/health", get(async move || health.answer("healthy", "unhealthy", true)))
    }

    fn answer(&self, good: &str, bad: &str, detailed: bool) -> Response {
        let problems = (self.problems)();
        let ready = problems.is_empty();
        let mut body = json!({"status": if ready { good } else { bad }});
        if let Value::Object(members) = &mut body {
            if !ready {
                members.insert("problems".into(), problems.into());
            }
            if detailed && let Value::Object(details) = (self.details)() {
                members.extend(details);
            }
        }
        uncached(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body)
    }
}

fn uncached(status: StatusCode, body: Value) -> Response {
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
