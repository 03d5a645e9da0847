//! `/metrics`: what Prometheus reads.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use axum::{
    Router,
    extract::{MatchedPath, Request},
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::Health;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of a service: how many requests it answered and how long that took, and what it
/// registers besides. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    /// A plain mutex: held while somebody registers or reads, never across an await.
    registry: Arc<Mutex<Registry>>,
    requests: Family<Labels, Counter>,
    seconds: Histogram,
    /// Asked whenever the metrics are read; none where the service counts that itself.
    health: Option<(Health, Gauge)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    /// The route's pattern, so that their number is bounded.
    route: String,
    code: u16,
}

impl Metrics {
    /// Metrics whose names begin with `prefix`.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        let mut registry = Registry::with_prefix(prefix);
        let requests = Family::<Labels, Counter>::default();
        let seconds = Histogram::new(exponential_buckets(0.0005, 2.0, 15));
        registry.register("http_requests", "HTTP requests answered", requests.clone());
        registry.register("http_request_seconds", "Time to answer one", seconds.clone());
        Self { registry: Arc::new(Mutex::new(registry)), requests, seconds, health: None }
    }

    /// Adds the gauge `ready`: 1 while nothing is wrong.
    #[must_use]
    pub fn with_health(mut self, health: Health) -> Self {
        let ready = Gauge::default();
        self.register(|registry| {
            registry.register("ready", "Whether nothing is wrong", ready.clone());
        });
        self.health = Some((health, ready));
        self
    }

    /// Registers further metrics.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Counts the requests of these routes.
    pub fn count<S: Clone + Send + Sync + 'static>(&self, router: Router<S>) -> Router<S> {
        let metrics = self.clone();
        router.layer(middleware::from_fn(move |request: Request, next: Next| {
            let metrics = metrics.clone();
            async move {
                let route = request.extensions().get::<MatchedPath>();
                let route = route.map_or("none", MatchedPath::as_str).to_owned();
                let begun = Instant::now();
                let response = next.run(request).await;
                let code = response.status().as_u16();
                metrics.requests.get_or_create(&Labels { route, code }).inc();
                metrics.seconds.observe(begun.elapsed().as_secs_f64());
                response
            }
        }))
    }

    /// The route `/metrics`.
    pub fn routes<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let metrics = self.clone();
        let text = move || {
            if let Some((health, ready)) = &metrics.health {
                ready.set(health.is_ready().into());
            }
            let registry = metrics.registry.lock().unwrap_or_else(PoisonError::into_inner);
            let mut text = String::new();
            encode(&mut text, &registry).map(|()| text)
        };
        Router::new().route("/metrics", get(async move || metrics_text(text())))
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// The answer of `/metrics` with an encoded registry.
pub fn metrics_text(text: Result<String, fmt::Error>) -> Response {
    match text {
        Ok(text) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
