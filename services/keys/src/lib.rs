//! The keys service: the key log and the endorsed keys over HTTP, for verifiers without gRPC, and a page
//! for people. It adds no trust: whatever it serves proves itself to its verifiers.
//!
//! The way of a request: [`Keys::router`] → `routes` (log and keys, byte for byte), `jwks` (for JOSE
//! libraries) or `page` (for people). `mirror` writes the log into Redis 4 beside it.

mod assets;
mod config;
mod jwks;
mod mirror;
mod page;
mod routes;

use std::sync::Arc;

use hsmd_client::{Clock, VerifiedLog};
use hsmd_runtime::{Health, Probes, Program, Shutdown, StartError, bind, serve};
use hsmd_service::{Certificate, EndorsementJudge, PublishedLog, follow_log};
use hsmd_store::{Jwt, LIST_LIMIT, Purpose as _, Store};
use hsmd_support::Report;
use serde_json::json;

pub use config::Config;

use mirror::Mirror;

/// What the command says of itself.
pub const PROGRAM: Program = Program {
    name: "hsmd-keys",
    about: "Serves the HSM's key log and the endorsed keys over HTTP",
    config: "/etc/hsmd/keys.toml",
    version: env!("CARGO_PKG_VERSION"),
};

/// What the handlers share. Clones are cheap.
#[derive(Clone)]
pub struct Keys {
    /// The followed and verified key log.
    log: VerifiedLog,
    /// Where the endorsed keys are, and the mirrored log.
    store: Store,
    /// Writes the log into Redis.
    mirror: Mirror,
    /// Judges the endorsements of the keys that sign JSON Web Tokens.
    jwt: Arc<EndorsementJudge>,
    /// The log as it is served.
    published: PublishedLog,
    /// What "now" is on the page.
    clock: Clock,
    /// What we show to hsmd.
    certificate: Certificate,
}

impl Keys {
    /// Begins to mirror the log into the store; must be called within a tokio runtime.
    #[must_use]
    pub fn new(log: VerifiedLog, store: Store, clock: Clock) -> Self {
        let mirror = Mirror::spawn(log.clone(), store.mirrored_log.clone());
        let jwt =
            Arc::new(EndorsementJudge::new(log.clone(), Jwt::NAME, jwks::LOOK_BACK, LIST_LIMIT));
        let (published, certificate) = (PublishedLog::new(log.clone()), Certificate::default());
        Self { log, store, mirror, jwt, published, clock, certificate }
    }

    /// Shows in `/metrics` how long the certificate is good that hsmd is shown.
    #[must_use]
    pub fn with_certificate(self, certificate: Certificate) -> Self {
        Self { certificate, ..self }
    }

    /// All routes.
    pub fn router(&self) -> axum::Router {
        routes::router(self.clone())
    }

    /// Healthy while the log is fresh and Redis holds its mirror.
    fn health(&self) -> Health {
        let (problems, details) = (self.clone(), self.clone());
        Health::new(move || {
            let log = hsmd_service::log_problem(&problems.log);
            log.into_iter().chain(problems.mirror.problem()).collect()
        })
        .with_details(move || {
            let head = details.log.snapshot().map(|log| log.position());
            json!({
                "headSequenceNumber": head.map(|head| head.sequence_number),
                "headId": head.map(|head| head.id),
            })
        })
    }
}

/// Runs the service as configured until the shutdown.
///
/// # Errors
/// [`StartError::Config`], [`StartError::Listen`], [`StartError::Failed`].
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), StartError> {
    let store = config.redis.open()?;
    let log = follow_log(&config.hsm)?;
    let listener = bind(&config.http).await?;
    let probes = Probes::bind(config.http.probes).await?;
    let certificate = Certificate::of(&config.hsm);
    let keys = Keys::new(log, store, Clock::system()).with_certificate(certificate);
    let served = serve(listener, keys.router(), (&config.http).into(), shutdown.clone());
    tokio::join!(served, probes.serve(keys.health().routes(), shutdown));
    Ok(())
}

/// What serving needs, tried: the key log and Redis.
pub async fn check(config: Config, report: &mut Report) {
    hsmd_service::check::hsm(&config.hsm, &[], report).await;
    hsmd_service::check::redis(&config.redis, report).await;
}
