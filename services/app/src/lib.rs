//! The app service: what an application looks like behind Better Auth access tokens.
//!
//! The way of a request: `routes` (limits) → [`hsmd_protocol::access::verify`] (every check, in the
//! protocol's order) over `stores` (nonces and revocations in Redis) and the endorsed server keys → a
//! reply signed by a key that hsmd endorses. `memory` watches what Redis can vouch for. Any number of
//! replicas may run on one Redis.

mod config;
mod memory;
mod routes;
mod stores;

use std::{sync::Arc, time::Duration};

use hsmd_client::Clock;
use hsmd_protocol::{PrivateKey, access::AccessWindow};
use hsmd_runtime::{Health, Probes, Program, Shutdown, StartError, bind, serve};
use hsmd_service::{EndorsedKey, EndorsedServers, Hsm, log_problem, random};
use hsmd_store::{Purpose as _, Response};
use hsmd_support::Report;
use serde_json::json;

pub use config::{AccessConfig, Config, KeysConfig};

use crate::{memory::Memory, stores::Stores};

/// What the command says of itself.
pub const PROGRAM: Program = Program {
    name: "hsmd-app",
    about: "An application behind Better Auth access tokens",
    config: "/etc/hsmd/app.toml",
    version: env!("CARGO_PKG_VERSION"),
};

/// How far back a generation of the HSM may have ended whose endorsed server key signed a token.
const LOOK_BACK: Duration = Duration::from_secs((12 * 60 + 15) * 60);

/// What the handlers share. Clones are cheap.
#[derive(Clone)]
struct App(Arc<Inner>);

struct Inner {
    server_name: String,
    max_body: usize,
    window: AccessWindow,
    /// Which servers' tokens we believe.
    servers: EndorsedServers,
    /// Which requests were made before and which devices are revoked.
    stores: Stores,
    /// Whether the stores can vouch for that.
    memory: Memory,
    /// Signs replies; made at the start and never stored.
    key: PrivateKey,
    endorsed: EndorsedKey<Response>,
    hsm: Hsm,
    clock: Clock,
}

impl App {
    /// Makes the server's key, has it endorsed and begins to watch Redis. It waits for nothing.
    fn start(config: &Config, clock: Clock) -> Result<Self, StartError> {
        let store = config.redis.open()?;
        let hsm = Hsm::connect(&config.hsm)?;
        let key = random::key();
        let AccessConfig { window: age, clock_skew, max_body } = config.access;
        let lifetime = config.keys.response();
        let published = store.response_endorsements.clone();
        Ok(Self(Arc::new(Inner {
            server_name: config.server_name.clone(),
            max_body,
            window: AccessWindow { age, clock_skew },
            servers: EndorsedServers::new(
                store.access_endorsements.clone(),
                hsm.log.clone(),
                LOOK_BACK,
            ),
            memory: Memory::watch(store.clone(), clock_skew),
            stores: Stores::new(store),
            endorsed: EndorsedKey::start(&hsm, published, *key.public_key(), lifetime),
            key,
            hsm,
            clock,
        })))
    }

    /// What keeps the service from answering.
    fn health(&self) -> Health {
        let (app, details) = (Arc::clone(&self.0), Arc::clone(&self.0));
        Health::new(move || {
            let log = log_problem(&app.hsm.log);
            log.into_iter().chain(app.endorsed.problem()).chain(app.memory.problem()).collect()
        })
        .with_details(move || {
            let generation = details.endorsed.endorsement();
            json!({
                "responseKey": details.key.public_key(),
                "generationId": generation.map(|endorsement| endorsement.generation_id()),
            })
        })
    }
}

/// Runs the service as configured until the shutdown.
///
/// # Errors
/// [`StartError::Config`], [`StartError::Listen`], [`StartError::Failed`].
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), StartError> {
    let app = App::start(&config, Clock::system())?;
    let listener = bind(&config.http).await?;
    let probes = Probes::bind(config.http.probes).await?;
    let routes = app.health().routes();
    let served = serve(listener, routes::router(app), (&config.http).into(), shutdown.clone());
    tokio::join!(served, probes.serve(routes, shutdown));
    Ok(())
}

/// What serving needs, tried: the key log, an endorsement, Redis.
pub async fn check(config: Config, report: &mut Report) {
    let purposes = [(Response::NAME, config.keys.response)];
    hsmd_service::check::hsm(&config.hsm, &purposes, report).await;
    hsmd_service::check::redis(&config.redis, report).await;
}
