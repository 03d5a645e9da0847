//! The auth service: Better Auth accounts, devices and sessions over HTTP.
//!
//! The way of a request: `routes` (limits, parsing) → `operations` (one transaction each) → the rules
//! of [`hsmd_protocol::server`] over `database` → `copies` (revocations and used hashes to Redis) →
//! a reply signed by a key that hsmd endorses. `upkeep` runs beside it. Any number of replicas may run
//! on one database: what must happen once is decided there.

mod config;
mod copies;
mod database;
mod operations;
mod routes;
mod upkeep;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use hsmd_chain::time::Timestamp;
use hsmd_client::Clock;
use hsmd_protocol::{
    PrivateKey,
    server::{Issuer, Lifetimes},
};
use hsmd_runtime::{Health, Probes, Program, Shutdown, StartError, bind, serve};
use hsmd_service::{EndorsedKey, EndorsedServers, Hsm, log_problem, random};
use hsmd_store::{Access, Purpose as _, Response};
use hsmd_support::{RateLimit, Report, chain, proxy::subscriber};
use serde_json::json;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

pub use config::{Config, DatabaseConfig, KeysConfig, LifetimesConfig, LimitsConfig};
pub use database::{Database, DatabaseError};

use crate::{copies::Copies, upkeep::Upkeep};

/// What the command says of itself.
pub const PROGRAM: Program = Program {
    name: "hsmd-auth",
    about: "Better Auth accounts, devices and sessions over HTTP",
    config: "/etc/hsmd/auth.toml",
    version: env!("CARGO_PKG_VERSION"),
};

/// How far back a generation of the HSM may have ended whose endorsed server key signed a token that
/// is to be refreshed.
const LOOK_BACK: Duration = Duration::from_secs(24 * 60 * 60);

/// Into how many classes identities fall for the limit on challenges, and addresses for theirs.
const CLASSES: usize = 1 << 16;

/// What the handlers share. Clones are cheap.
#[derive(Clone)]
pub struct Auth(Arc<Inner>);

struct Inner {
    database: Database,
    copies: Copies,
    /// Which servers' tokens we refresh.
    servers: EndorsedServers,
    /// Signs tokens.
    access: ServerKey<Access>,
    /// Signs replies.
    response: ServerKey<Response>,
    hsm: Hsm,
    lifetimes: Lifetimes,
    limits: LimitsConfig,
    challenge_limit: RateLimit,
    request_limit: RateLimit,
    address_limit: RateLimit,
    clock: Clock,
    upkeep: Upkeep,
    /// Operations that run; stopping waits for them.
    tasks: TaskTracker,
}

/// A key of this process, made at its start and never stored.
struct ServerKey<P> {
    private: PrivateKey,
    endorsed: EndorsedKey<P>,
}

impl Auth {
    /// Makes the server's keys, has them endorsed and begins the upkeep; must be called within a tokio
    /// runtime. It waits for nothing: see [`Auth::health`].
    ///
    /// # Errors
    /// [`StartError::Config`], [`StartError::Failed`].
    pub fn start(config: &Config, clock: Clock) -> Result<Self, StartError> {
        let store = config.redis.open()?;
        let database = Database::open(&config.database)?;
        let hsm = Hsm::connect(&config.hsm)?;
        let lifetimes = Lifetimes::from(config.lifetimes);
        let (access, response) = (random::key(), random::key());
        let copies =
            Copies::new(store.clone(), database.clone(), lifetimes.access, lifetimes.refresh);
        let upkeep =
            Upkeep::start(database.clone(), copies.clone(), clock.clone(), lifetimes.challenge);
        let limits = config.limits.clone();
        let started = Instant::now();
        let (minute, second) = (Duration::from_secs(60), Duration::from_secs(1));
        let (challenges, total) = (limits.challenges_per_minute, limits.requests_per_second);
        let from_one = limits.requests_per_second_per_address;
        Ok(Self(Arc::new(Inner {
            servers: EndorsedServers::new(
                store.access_endorsements.clone(),
                hsm.log.clone(),
                LOOK_BACK,
            ),
            access: ServerKey {
                endorsed: EndorsedKey::start(
                    &hsm,
                    store.access_endorsements,
                    *access.public_key(),
                    config.keys.access(),
                ),
                private: access,
            },
            response: ServerKey {
                endorsed: EndorsedKey::start(
                    &hsm,
                    store.response_endorsements,
                    *response.public_key(),
                    config.keys.response(),
                ),
                private: response,
            },
            database,
            copies,
            hsm,
            lifetimes,
            limits,
            challenge_limit: RateLimit::new(challenges, minute, CLASSES, started),
            request_limit: RateLimit::new(total, second, 1, started),
            address_limit: RateLimit::new(from_one, second, CLASSES, started),
            clock,
            upkeep,
            tasks: TaskTracker::new(),
        })))
    }

    /// All routes, for [`serve`], which says of each request where it is from.
    pub fn router(&self) -> axum::Router {
        routes::router(self.clone())
    }

    /// Ready while its keys are endorsed and published, and database, copies and key log in order.
    #[must_use]
    pub fn health(&self) -> Health {
        let (problems, details) = (self.clone(), self.clone());
        Health::new(move || {
            let inner = &problems.0;
            let keys = [inner.access.endorsed.problem(), inner.response.endorsed.problem()];
            keys.into_iter()
                .chain([log_problem(&inner.hsm.log)])
                .flatten()
                .chain(inner.upkeep.problems())
                .collect()
        })
        .with_details(move || {
            let inner = &details.0;
            let generation = inner.response.endorsed.endorsement();
            json!({
                "accessKey": inner.access.private.public_key(),
                "responseKey": inner.response.private.public_key(),
                "generationId": generation.map(|endorsement| endorsement.generation_id()),
            })
        })
    }

    /// Waits until the operations that run have ended, for `grace` at the most.
    async fn drain(&self, grace: Duration) {
        self.0.tasks.close();
        if timeout(grace, self.0.tasks.wait()).await.is_err() {
            tracing::warn!("operations were still running after the grace period");
        }
    }

    /// Whether both keys are endorsed, and published where clients look. Without that nothing is
    /// answered: a reply that its reader can't verify leaves them not knowing what was done.
    fn has_endorsed_keys(&self) -> bool {
        let now = self.now();
        self.0.access.endorsed.is_usable(now) && self.0.response.endorsed.is_usable(now)
    }

    fn issuer(&self) -> Issuer<'_> {
        Issuer { key: &self.0.access.private, lifetimes: self.0.lifetimes }
    }

    /// Whether one more request from this client is accepted now. One address can't use up what is
    /// there for all.
    fn accepts_from(&self, client: IpAddr) -> bool {
        let now = Instant::now();
        let Inner { address_limit, request_limit, .. } = &*self.0;
        address_limit.accept(subscriber(client), now) && request_limit.accept((), now)
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
    let auth = Auth::start(&config, Clock::system())?;
    let listener = bind(&config.http).await?;
    let probes = Probes::bind(config.http.probes).await?;
    let served = serve(listener, auth.router(), (&config.http).into(), shutdown.clone());
    tokio::join!(served, probes.serve(auth.health().routes(), shutdown));
    auth.drain(config.http.stop_grace).await;
    Ok(())
}

/// What serving needs, tried: the key log, endorsements, Redis, the database.
pub async fn check(config: Config, report: &mut Report) {
    let KeysConfig { access, response } = config.keys;
    let purposes = [(Access::NAME, access), (Response::NAME, response)];
    hsmd_service::check::hsm(&config.hsm, &purposes, report).await;
    hsmd_service::check::redis(&config.redis, report).await;
    let database = match Database::open(&config.database) {
        Ok(database) => database,
        Err(error) => return report.bad("database", chain(&error)),
    };
    match database.look().await {
        Ok(true) => report.good("database", "answers, its tables are there"),
        Ok(false) => {
            report.note("database", "answers, and is empty: the first start makes the tables")
        }
        Err(error) => report.bad("database", chain(&error)),
    }
}
