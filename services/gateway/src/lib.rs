//! The gateway: HTTP and JSON before hsmd's gRPC, for services that do without gRPC. It stands beside one
//! service and has that service's identity towards hsmd, so it serves that service's users only.
//!
//! The way of a request: `hsmd_runtime` (who connects) → `guard` (no web page, no other type) → `routes` →
//! `sign` or `verify`. It never rotates or taints, which would hide who did, and never asks for leaves of a
//! batch: its callers need not know them.

mod config;
mod error;
mod guard;
mod instant;
mod routes;
mod sign;
mod verify;

use hsmd_client::{Client, Clock, VerifiedLog};
use hsmd_runtime::{
    ConfigError, Health, Probes, Program, ServeOptions, Shutdown, Socket, StartError, WhenFull,
    bind_tcp, serve, serve_users,
};
use hsmd_service::{Hsm, PublishedLog, config::HsmConfig, log_problem};
use hsmd_support::{Report, chain};
use serde_json::json;

pub use config::{Config, Listen, ListenConfig, ListenError};

/// What the command says of itself.
pub const PROGRAM: Program = Program {
    name: "hsmd-gateway",
    about: "HTTP and JSON before hsmd's gRPC, beside one service",
    config: "/etc/hsmd/gateway.toml",
    version: env!("CARGO_PKG_VERSION"),
};

/// The mode of the socket: its users are known by their uids.
const SOCKET_MODE: u32 = 0o666;

/// What the handlers share. Clones are cheap.
#[derive(Clone)]
struct Gateway {
    client: Client,
    log: VerifiedLog,
    /// The log as it is served.
    published: PublishedLog,
    clock: Clock,
}

impl Gateway {
    fn new(hsm: Hsm, clock: Clock) -> Self {
        let published = PublishedLog::new(hsm.log.clone());
        Self { client: hsm.client, log: hsm.log, published, clock }
    }

    /// Ready while the log is fresh: then hsmd answers.
    fn health(&self) -> Health {
        let (log, details) = (self.log.clone(), self.log.clone());
        Health::new(move || log_problem(&log).into_iter().collect()).with_details(move || {
            let head = details.snapshot().map(|log| log.position());
            json!({
                "headSequenceNumber": head.map(|head| head.sequence_number),
                "headId": head.map(|head| head.id),
            })
        })
    }
}

/// Runs the gateway as configured until the shutdown.
///
/// # Errors
/// The configuration can't be used, or its socket or address can't be listened on.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), StartError> {
    plain(&config.hsm)?;
    let gateway = Gateway::new(Hsm::connect(&config.hsm)?, Clock::system());
    let (router, probe) = (routes::router(&gateway), gateway.health().routes());
    let options = ServeOptions::from(&config.listen);
    let probes = Probes::bind(config.listen.probes).await?;
    let probed = probes.serve(probe, shutdown.clone());
    match config.listen.place {
        Listen::Users { path, uids } => {
            let socket = Socket::bind(&path, SOCKET_MODE, None).await;
            let socket = socket.map_err(StartError::failed)?;
            tracing::info!(path = %path.display(), ?uids, "listening");
            tokio::join!(serve_users(socket, uids, router, options, shutdown), probed);
        }
        Listen::Loopback(address) => {
            let listener = bind_tcp(address).await.map_err(StartError::failed)?;
            let address = listener.local_addr().map_err(StartError::failed)?;
            tracing::info!(%address, "listening");
            tokio::join!(serve(listener, router, options, shutdown), probed);
        }
    }
    Ok(())
}

/// What serving needs, tried: who may connect, hsmd, the key log.
pub async fn check(config: Config, report: &mut Report) {
    match &config.listen.place {
        Listen::Users { path, uids } => {
            report.good("listen", format!("{}, for the users {uids:?}", path.display()));
        }
        Listen::Loopback(address) => report.note(
            "listen",
            format!(
                "allow_loopback_tcp: everything that reaches {address} is the service, which is right in \
                 a pod or a network namespace that only the service shares"
            ),
        ),
    }
    match plain(&config.hsm) {
        Ok(()) => hsmd_service::check::hsm(&config.hsm, &[], report).await,
        Err(error) => report.bad("hsmd", chain(&error)),
    }
}

/// Refuses settings that are for services which have keys of their own endorsed.
fn plain(hsm: &HsmConfig) -> Result<(), ConfigError> {
    let refused = |text: &str| Err(ConfigError::section("hsm", text));
    if hsm.batch {
        return refused("`batch` is not for the gateway: its callers read plain bodies");
    }
    if hsm.endpoint.is_none() {
        return refused("`endpoint` is missing");
    }
    Ok(())
}

impl From<&ListenConfig> for ServeOptions {
    fn from(config: &ListenConfig) -> Self {
        Self {
            max_connections: config.max_connections,
            // All of them are the service's.
            max_connections_per_address: config.max_connections,
            when_full: WhenFull::Wait,
            request_timeout: config.request_timeout,
            connection_timeout: None,
            stop_grace: config.stop_grace,
        }
    }
}
