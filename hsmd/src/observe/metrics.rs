//! Prometheus metrics. Counters and histograms are written where things happen; everything that is a
//! state is read at each scrape.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// The metrics of one token, written by its thread.
#[derive(Clone, Debug)]
pub struct TokenMetrics {
    pub queue_seconds: Histogram,
    pub hsm_seconds: Histogram,
    pub tree_leaves: Histogram,
    errors: Family<ErrorLabels, Counter>,
    /// The newest error of each kind.
    last_errors: Arc<Mutex<Vec<(ErrorLabels, Instant)>>>,
    pub recoveries: Counter,
}

/// All metrics.
pub struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<RequestLabels, Counter>,
    token: TokenMetrics,
    limits: LimitCounters,
    audit: AuditMetrics,
    gauges: Gauges,
}

/// What becomes of audit records.
#[derive(Clone, Debug, Default)]
pub struct AuditMetrics {
    lost: Counter,
    problem: Arc<Mutex<Option<String>>>,
}

/// Counts what one limit refuses.
#[derive(Clone, Debug, Default)]
pub struct LimitCounter {
    refused: Counter,
    last: Arc<Mutex<Option<Instant>>>,
}

/// Those of all limits.
#[derive(Clone, Debug, Default)]
pub struct LimitCounters {
    pub bytes_in_flight: LimitCounter,
    pub connections: LimitCounter,
    pub unknown_bytes: LimitCounter,
    pub unknown_connections: LimitCounter,
    pub unfinished_handshakes: LimitCounter,
}

/// What is read at each scrape.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    pub queue_depth: Gauge,
    pub active_sequence_number: Gauge,
    pub head_age_seconds: Gauge,
    pub last_good_signature_timestamp_seconds: Gauge,
    pub database_connected: Gauge,
    pub lock_held: Gauge,
    pub token_owned: Gauge,
    pub standby: Gauge,
    pub config_current: Gauge,
    pub keys_not_destroyed: Gauge,
    pub next_key_usable: Gauge,
    pub event_pending: Gauge,
    pub certificate_start_timestamp_seconds: Gauge,
    pub certificate_expiry_timestamp_seconds: Gauge,
    pub ready: Gauge,
    last_errors: Family<ErrorLabels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    caller: String,
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    ckr: String,
}

impl Default for TokenMetrics {
    fn default() -> Self {
        // From 20 µs, half a software signature, to 40 s.
        let histogram = || Histogram::new(exponential_buckets(20e-6, 2.0, 21));
        Self {
            queue_seconds: histogram(),
            hsm_seconds: histogram(),
            // From 2 to 16,384, the most.
            tree_leaves: Histogram::new(exponential_buckets(2.0, 2.0, 14)),
            errors: Family::default(),
            last_errors: Arc::default(),
            recoveries: Counter::default(),
        }
    }
}

impl TokenMetrics {
    pub fn error(&self, ckr: &str) {
        let labels = ErrorLabels { ckr: ckr.to_owned() };
        self.errors.get_or_create(&labels).inc();
        let mut last = self.last_errors.lock();
        match last.iter_mut().find(|(known, _)| *known == labels) {
            Some((_, at)) => *at = Instant::now(),
            None => last.push((labels, Instant::now())),
        }
    }
}

impl AuditMetrics {
    /// Counts records that were lost.
    pub fn lost(&self, count: u64) {
        self.lost.inc_by(count);
    }

    pub fn lost_so_far(&self) -> u64 {
        self.lost.get()
    }

    /// Why records are being lost now.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
    }

    /// Notes why; true when that was not known before, or when it is over.
    pub fn set_problem(&self, problem: Option<String>) -> bool {
        let mut current = self.problem.lock();
        let changed = current.is_some() != problem.is_some();
        *current = problem;
        changed
    }
}

impl LimitCounter {
    /// Counts one refusal.
    pub fn refuse(&self) {
        self.refused.inc();
        *self.last.lock() = Some(Instant::now());
    }

    /// Whether something was refused within this time.
    pub fn refused_within(&self, time: Duration) -> bool {
        self.last.lock().is_some_and(|at| at.elapsed() < time)
    }
}

impl LimitCounters {
    fn registered(registry: &mut Registry) -> Self {
        let refusals = Family::<LimitLabels, Counter>::default();
        let counter = |limit| LimitCounter {
            refused: refusals.get_or_create_owned(&LimitLabels { limit }),
            last: Arc::default(),
        };
        let counters = Self {
            bytes_in_flight: counter("bytes_in_flight"),
            connections: counter("connections"),
            unknown_bytes: counter("unknown_bytes_in_flight"),
            unknown_connections: counter("unknown_connections"),
            unfinished_handshakes: counter("unfinished_handshakes"),
        };
        registry.register("limit_refusals", "Calls and connections refused, by limit", refusals);
        counters
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("hsmd");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The daemon's version", build);
        let requests = Family::default();
        let token = TokenMetrics::default();
        let gauges = Gauges::default();
        registry.register("requests", "Calls, by method, caller and gRPC code", requests.clone());
        registry.register(
            "queue_seconds",
            "How long signing requests waited for the token",
            token.queue_seconds.clone(),
        );
        registry.register(
            "hsm_seconds",
            "How long signatures took in the token",
            token.hsm_seconds.clone(),
        );
        registry.register(
            "tree_leaves",
            "How many documents were signed together",
            token.tree_leaves.clone(),
        );
        registry.register("token_errors", "Token errors, by CKR", token.errors.clone());
        registry.register(
            "token_last_error_timestamp_seconds",
            "When the token's last error of a CKR was, in Unix time",
            gauges.last_errors.clone(),
        );
        registry.register(
            "token_recoveries",
            "Lost sessions that were opened again",
            token.recoveries.clone(),
        );
        for (name, help, gauge) in [
            ("queue_depth", "Documents that wait to be signed", &gauges.queue_depth),
            ("active_sequence_number", "The number of the head", &gauges.active_sequence_number),
            ("head_age_seconds", "How old the head is", &gauges.head_age_seconds),
            (
                "last_good_signature_timestamp_seconds",
                "When the last good signature was made, in Unix time",
                &gauges.last_good_signature_timestamp_seconds,
            ),
            ("database_connected", "Whether Postgres is connected", &gauges.database_connected),
            ("lock_held", "Whether this daemon holds the writer lock", &gauges.lock_held),
            (
                "token_owned",
                "Whether this daemon serves and owns the token that signs",
                &gauges.token_owned,
            ),
            (
                "standby",
                "Whether another daemon holds the lock and this one waits",
                &gauges.standby,
            ),
            (
                "config_current",
                "Whether the configuration's file, as last read, is what runs",
                &gauges.config_current,
            ),
            (
                "keys_not_destroyed",
                "Private keys of earlier generations that the token does not destroy",
                &gauges.keys_not_destroyed,
            ),
            (
                "next_key_usable",
                "Whether rotate and taint have the committed next key",
                &gauges.next_key_usable,
            ),
            (
                "event_pending",
                "Whether an event that was made is not in the database yet",
                &gauges.event_pending,
            ),
            (
                "certificate_start_timestamp_seconds",
                "When the TLS certificate began, in Unix time; 0 without TLS",
                &gauges.certificate_start_timestamp_seconds,
            ),
            (
                "certificate_expiry_timestamp_seconds",
                "When the TLS certificate ends, in Unix time; 0 without TLS",
                &gauges.certificate_expiry_timestamp_seconds,
            ),
            ("ready", "Whether a signature can be had now", &gauges.ready),
        ] {
            registry.register(name, help, gauge.clone());
        }
        let limits = LimitCounters::registered(&mut registry);
        let audit = AuditMetrics::default();
        registry.register(
            "audit_records_lost",
            "Audit records that found no room in the queue or could not be written",
            audit.lost.clone(),
        );
        Self { registry: Mutex::new(registry), requests, token, limits, audit, gauges }
    }
}

impl Metrics {
    /// What the tokens' threads write.
    pub fn token(&self) -> TokenMetrics {
        self.token.clone()
    }

    /// What becomes of audit records.
    pub fn audit(&self) -> &AuditMetrics {
        &self.audit
    }

    /// What the limits refuse.
    pub fn limits(&self) -> &LimitCounters {
        &self.limits
    }

    /// What is read at a scrape.
    pub fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    /// Says when the token's last errors were, by a clock that shows `now` in Unix time.
    pub fn read_last_errors(&self, now: i64) {
        for (labels, at) in self.token.last_errors.lock().iter() {
            let age = i64::try_from(at.elapsed().as_secs()).unwrap_or(i64::MAX);
            self.gauges.last_errors.get_or_create(labels).set(now.saturating_sub(age));
        }
    }

    pub fn request(&self, method: &'static str, caller: &str, code: String) {
        let labels = RequestLabels { method, caller: caller.to_owned(), code };
        self.requests.get_or_create(&labels).inc();
    }

    /// All metrics in the OpenMetrics text format.
    ///
    /// # Errors
    /// A value can't be written as text.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock())?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
