//! The accounts service: e-mail and password accounts, sessions in cookies, and JWTs whose keys the HSM
//! endorses. It serves the browser client of the npm library `better-auth` as it is.
//!
//! The way of a request: `api` (limits, origin, form) → one endpoint of `api::*` → `sessions`,
//! `passwords`, `users` over `database`. `upkeep` runs beside it. Any number of replicas may run on one
//! database: what must happen once is decided there, and no secret is shared by configuration.

mod api;
pub mod commands;
pub mod config;
mod counters;
mod database;
mod error;
mod health;
mod import;
mod internal;
mod jwt;
mod keys;
mod limits;
mod links;
mod mail;
mod openapi;
mod origin;
mod passwords;
mod random;
mod sessions;
mod time;
mod tokens;
mod upkeep;
mod users;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use hsmd_chain::Timestamp;
use hsmd_client::Clock;
use hsmd_runtime::{
    ConfigError, HttpConfig, Metrics, Probes, ServeOptions, Shutdown, StartError, bind, serve,
};
use hsmd_service::Hsm;
use hsmd_support::chain;
use percent_encoding::utf8_percent_encode;
use sqlx::PgPool;
use tokio::time::{timeout, timeout_at};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

pub use config::Config;
pub use database::{Database, DatabaseError};

use crate::{
    counters::Counters,
    internal::Internal,
    keys::Keys,
    limits::{Attempts, Limits},
    mail::{Mail, Mailer},
    origin::Origins,
    passwords::{Argon2Settings, Hasher, Passwords},
    tokens::Tokens,
    upkeep::Upkeep,
};

/// How long the answer may take that a request was over its time.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// How long waiting mails have at a stop, also where requests have taken all the time there was.
const LAST_MAILS: Duration = Duration::from_secs(2);

/// What the endpoints share. Clones are cheap.
#[derive(Clone)]
pub struct Accounts(Arc<Inner>);

struct Inner {
    config: Config,
    database: Database,
    origins: Origins,
    passwords: Passwords,
    limits: Limits,
    attempts: Attempts,
    counters: Counters,
    metrics: Metrics,
    clock: Clock,
    upkeep: Upkeep,
    keys: Keys,
    tokens: Tokens,
    internal: Option<Internal>,
    mailer: Option<Mailer>,
    /// Requests that run; stopping waits for them.
    tasks: TaskTracker,
}

impl Accounts {
    /// Begins what runs beside the requests; must be called within a tokio runtime. It waits for nothing:
    /// see `/ready`.
    ///
    /// # Errors
    /// [`StartError::Config`]; [`StartError::Failed`] if the system has no thread or descriptor left.
    pub fn start(config: Config, clock: Clock) -> Result<Self, StartError> {
        config.check().map_err(|error| ConfigError::section(error.section(), error))?;
        let database = Database::open(&config.database)?;
        let settings = Argon2Settings {
            memory_kib: config.passwords.memory_kib,
            iterations: config.passwords.iterations,
            parallelism: config.passwords.parallelism,
        };
        let (threads, queue) = (config.passwords.threads, config.passwords.queue.get());
        let hasher = Hasher::start(settings, threads, queue).map_err(StartError::Failed)?;
        let passwords = Passwords::new(hasher.clone());
        let (counters, metrics) = (Counters::default(), Metrics::new("hsmd_accounts"));
        let mailer = config.mail.as_ref().map(Mailer::start).transpose()?;
        counters.register(&metrics, &hasher, mailer.as_ref());
        let hsm = Hsm::connect(&config.hsm)?;
        hsm.certificate.register(&metrics);
        let max_staleness = config.hsm.max_staleness;
        let upkeep = Upkeep::start(database.clone(), passwords.clone(), clock.clone());
        let internal = config.internal.as_ref().map(Internal::open).transpose()?;
        Ok(Self(Arc::new(Inner {
            keys: Keys::start(
                hsm,
                database.clone(),
                upkeep.migrated(),
                config.tokens,
                max_staleness,
            ),
            tokens: Tokens::new(config.tokens, config.site.public_url.as_str().to_owned()),
            internal,
            mailer,
            origins: Origins::new(config.site.public_url.clone(), &config.site.trusted_origins),
            limits: Limits::new(config.limits.clone(), Instant::now()),
            attempts: Attempts::new(database.pool().clone(), &config.limits),
            upkeep,
            counters,
            metrics,
            tasks: TaskTracker::new(),
            config,
            database,
            passwords,
            clock,
        })))
    }

    /// All routes, for [`serve`], which says of each request where it is from.
    pub fn router(&self) -> axum::Router {
        let public = health::routes(self).merge(self.0.metrics.count(api::router(self)));
        match self.internal().is_some_and(|internal| internal.listen.is_none()) {
            true => public.merge(self.internal_router()),
            false => public,
        }
    }

    /// The routes for gateways and services.
    pub fn internal_router(&self) -> axum::Router {
        self.0.metrics.count(internal::router(self))
    }

    /// What keeps the service from being ready, as public sentences.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        self.0.upkeep.problem().into_iter().chain(self.0.keys.problem()).collect()
    }

    /// Waits until the requests that run have ended, but not longer than `end`. Then the mails that wait are
    /// sent and the other replicas learn of the stop.
    async fn drain(&self, end: tokio::time::Instant) {
        self.0.tasks.close();
        if timeout_at(end, self.0.tasks.wait()).await.is_err() {
            tracing::warn!("requests were still running after the grace period");
        }
        let mails = async {
            if let Some(mailer) = &self.0.mailer {
                mailer.finish(end.max(tokio::time::Instant::now() + LAST_MAILS)).await;
            }
        };
        tokio::join!(self.keys().stop(&self.0.database), mails);
    }

    fn config(&self) -> &Config {
        &self.0.config
    }

    fn database(&self) -> &PgPool {
        self.0.database.pool()
    }

    fn origins(&self) -> &Origins {
        &self.0.origins
    }

    fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    fn passwords(&self) -> &Passwords {
        &self.0.passwords
    }

    fn attempts(&self) -> &Attempts {
        &self.0.attempts
    }

    fn counters(&self) -> &Counters {
        &self.0.counters
    }

    fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    /// Counts a request; an error says when the next may come.
    fn accept(&self, network: IpAddr, path: &'static str) -> Result<(), Duration> {
        self.0.limits.accept(network, path, Instant::now())
    }

    /// Whether browsers come by TLS, so that cookies say so.
    fn is_secure(&self) -> bool {
        self.0.origins.own().is_https()
    }

    fn requires_origin(&self) -> bool {
        self.0.config.site.require_origin
    }

    fn keys(&self) -> &Keys {
        &self.0.keys
    }

    fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    fn internal(&self) -> Option<&Internal> {
        self.0.internal.as_ref()
    }

    /// Whether mail is configured.
    fn sends_mail(&self) -> bool {
        self.0.mailer.is_some()
    }

    /// Sends a mail later.
    fn send(&self, mail: Mail) {
        if let Some(mailer) = &self.0.mailer {
            mailer.send(mail);
        }
    }

    /// For what may be dropped before its end, and uses the database.
    fn noting<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        self.0.database.noting(work)
    }

    /// Goes on with something after its request was answered, whose time then tells nothing.
    fn later(&self, work: impl Future<Output = Result<(), sqlx::Error>> + Send + 'static) {
        let longest = self.0.config.http.request_timeout;
        let work = self.noting(work);
        let work = async move {
            match timeout(longest, work).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(error = %chain(&error), "mail not prepared");
                }
                Err(error) => tracing::warn!(%error, "mail not prepared"),
            }
        };
        self.0.tasks.spawn(work.in_current_span());
    }

    /// A link for a mail. `path` ends where its last parameter begins.
    fn link(&self, path: &str, callback: &str) -> String {
        let base = self.0.origins.own().as_str();
        let callback = utf8_percent_encode(callback, api::COMPONENT);
        format!("{base}{}{path}callbackURL={callback}", api::BASE)
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }
}

/// Runs the service as configured until the shutdown.
///
/// # Errors
/// [`StartError::Config`], [`StartError::Listen`], [`StartError::Failed`].
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), StartError> {
    let http = config.http.clone();
    let accounts = Accounts::start(config, Clock::system())?;
    let listener = bind(&http).await?;
    let probes =
        Probes::bind(http.probes).await?.serve(health::routes(&accounts), shutdown.clone());
    // A request over its time is answered by ours first.
    let request_timeout = http.request_timeout.saturating_add(ANSWER_TIME);
    let options = ServeOptions { request_timeout, ..(&http).into() };
    let mut asked = shutdown.clone();
    let end = async move {
        asked.asked().await;
        tokio::time::Instant::now() + http.stop_grace
    };
    let public = serve(listener, accounts.router(), options.clone(), shutdown.clone());
    let end = match accounts.internal().and_then(|internal| internal.listen) {
        None => tokio::join!(public, probes, end).2,
        Some(listen) => {
            let listener = bind(&HttpConfig { listen, ..http.clone() }).await?;
            let internal = serve(listener, accounts.internal_router(), options, shutdown);
            tokio::join!(public, probes, internal, end).3
        }
    };
    accounts.drain(end).await;
    Ok(())
}
