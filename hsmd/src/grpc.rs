//! gRPC: everything that names tonic's servers and prost. This file composes:
//! `transport` accepts connections, each call passes `layers` and reaches its service in `services`;
//! `convert` turns messages into domain types and back, `status` maps errors. Imports point downwards only.

mod budget;
mod convert;
mod layers;
mod services;
mod status;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use hsmd_proto::FILE_DESCRIPTOR_SET;
use hsmd_proto::v1::admin_server::AdminServer;
use hsmd_proto::v1::key_log_server::KeyLogServer;
use hsmd_proto::v1::signer_server::SignerServer;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic_health::server::health_reporter;

use crate::config::{ADMIN_CONNECTIONS, LimitsConfig, ListenConfig, TlsListenConfig};
use crate::daemon::activation::Inherited;
use crate::daemon::health;
use crate::daemon::state::{Phase, Shared};
use budget::Budget;
use layers::CallLayer;
use layers::context::{self, Listener};
use services::{AdminService, KeyLogService, SignerService};
use transport::{IsKnown, Limit, Socket, Tls, accept, bind_tcp};

pub use convert::document;
pub use transport::{BindError, TlsError, check_tls};

/// The largest request: a batch of 256 documents of 16 KiB.
const MAX_REQUEST: usize = 4 * 1024 * 1024;

/// The largest request of every call that carries no documents.
const MAX_SMALL_REQUEST: usize = 16 * 1024;

/// Accepted connections that wait for the server.
const BACKLOG: usize = 64;

/// Bound sockets, not yet served. The socket files that we made go when it is dropped.
#[derive(Debug)]
pub struct Listeners {
    service: Socket,
    admin: Socket,
    tls: Option<(TcpListener, Arc<Tls>)>,
    admin_tls: Option<(TcpListener, Arc<Tls>)>,
    plaintext: Option<TcpListener>,
    limits: LimitsConfig,
}

impl Listeners {
    /// Where each listens, with the port that the system has chosen where none was configured.
    pub fn log_addresses(&self, config: &ListenConfig) {
        let (service, admin) = (config.service.path.display(), config.admin.path.display());
        let address = |listener: &TcpListener| listener.local_addr().map(|at| at.to_string()).ok();
        let tls = self.tls.as_ref().and_then(|(listener, _)| address(listener));
        let admin_tls = self.admin_tls.as_ref().and_then(|(listener, _)| address(listener));
        let plaintext = self.plaintext.as_ref().and_then(address);
        tracing::info!(%service, %admin, tls, admin_tls, plaintext, "listening");
    }
}

/// Why the daemon can't listen or serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("listen.tls")]
    Tls(#[source] TlsError),
    #[error("listen.admin_tls")]
    AdminTls(#[source] TlsError),
    #[error("the gRPC server failed")]
    Serve(#[from] tonic::transport::Error),
    #[error("the gRPC descriptors are not usable")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Binds what systemd did not hand over.
///
/// # Errors
/// [`ServeError::Bind`], [`ServeError::Tls`] or [`ServeError::AdminTls`].
pub async fn bind(
    config: &ListenConfig,
    limits: &LimitsConfig,
    inherited: Inherited,
) -> Result<Listeners, ServeError> {
    let tls = bind_tls(config.tls.as_ref(), ServeError::Tls).await?;
    let admin_tls = bind_tls(config.admin_tls.as_ref(), ServeError::AdminTls).await?;
    let plaintext = match &config.plaintext {
        None => None,
        Some(plaintext) => Some(bind_tcp(plaintext.address).await?),
    };
    let (service, admin) = (&config.service, &config.admin);
    Ok(Listeners {
        service: Socket::bind(&service.path, service.mode, inherited.service).await?,
        admin: Socket::bind(&admin.path, admin.mode, inherited.admin).await?,
        tls,
        admin_tls,
        plaintext,
        limits: limits.clone(),
    })
}

async fn bind_tls(
    config: Option<&TlsListenConfig>,
    failed: impl Fn(TlsError) -> ServeError,
) -> Result<Option<(TcpListener, Arc<Tls>)>, ServeError> {
    let Some(config) = config else { return Ok(None) };
    let listener = bind_tcp(config.address).await?;
    Ok(Some((listener, Arc::new(Tls::load(config).map_err(failed)?))))
}

/// Serves until `stop` becomes true, then finishes what was accepted.
///
/// # Errors
/// [`ServeError::Serve`] or [`ServeError::Reflection`].
pub async fn serve(
    listeners: Listeners,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
) -> Result<(), ServeError> {
    let (service_health, service_health_server) = health_reporter();
    let (admin_health, admin_health_server) = health_reporter();
    health::not_yet([&service_health, &admin_health]).await;
    let mut helpers = tokio::task::JoinSet::new();
    helpers.spawn(health::run(Arc::clone(&shared), service_health, admin_health));

    let Listeners { service, admin, tls, admin_tls, plaintext, limits } = listeners;
    // Each listener counts for itself: a flood on one keeps callers out of no other, nor the admin. The
    // callers' memory budget is one for all.
    let counters = shared.metrics.limits();
    let bytes = Arc::new(Budget::new(limits.bytes_in_flight, counters.bytes_in_flight.clone()));
    let limit_of = |limits: LimitsConfig, listener| {
        Limit::new(limits, Arc::clone(&bytes), counters.clone(), is_known(&shared, listener))
    };
    let limit = || limit_of(limits.clone(), Listener::Service);
    let (accepted, connections) = mpsc::channel(BACKLOG);
    let (listener, service_file) = service.split();
    helpers.spawn(accept::unix(listener, limit(), accepted.clone(), stop.clone()));
    if let Some((listener, tls)) = tls {
        helpers.spawn(follow_tls(Arc::clone(&tls), Arc::clone(&shared), Listener::Service));
        helpers.spawn(accept::tls(listener, tls, limit(), accepted.clone(), stop.clone()));
    }
    if let Some(listener) = plaintext {
        helpers.spawn(accept::plaintext(listener, limit(), accepted.clone(), stop.clone()));
    }
    drop(accepted);
    let signer = SignerServer::new(SignerService { shared: Arc::clone(&shared) })
        .max_decoding_message_size(MAX_REQUEST);
    let key_log = KeyLogServer::new(KeyLogService { shared: Arc::clone(&shared) })
        .max_decoding_message_size(MAX_SMALL_REQUEST);
    let service = server(&limits)
        .layer(CallLayer { shared: Arc::clone(&shared), listener: Listener::Service })
        .add_service(signer)
        .add_service(key_log)
        .add_service(service_health_server.max_decoding_message_size(MAX_SMALL_REQUEST))
        .add_service(reflection().build_v1()?.max_decoding_message_size(MAX_SMALL_REQUEST))
        .add_service(reflection().build_v1alpha()?.max_decoding_message_size(MAX_SMALL_REQUEST))
        .serve_with_incoming_shutdown(ReceiverStream::new(connections), stopped(stop.clone()));

    let (accepted, connections) = mpsc::channel(BACKLOG);
    let (listener, admin_file) = admin.split();
    let connections_of_admins = limits.connections.min(ADMIN_CONNECTIONS);
    let admin_limits = LimitsConfig { connections: connections_of_admins, ..limits.clone() };
    let admin_limit = || limit_of(admin_limits.clone(), Listener::Admin);
    helpers.spawn(accept::unix(listener, admin_limit(), accepted.clone(), stop.clone()));
    if let Some((listener, tls)) = admin_tls {
        helpers.spawn(follow_tls(Arc::clone(&tls), Arc::clone(&shared), Listener::Admin));
        helpers.spawn(accept::tls(listener, tls, admin_limit(), accepted.clone(), stop.clone()));
    }
    drop(accepted);
    let admin_service = AdminServer::new(AdminService { shared: Arc::clone(&shared) })
        .max_decoding_message_size(MAX_SMALL_REQUEST);
    let admin = server(&limits)
        .layer(CallLayer { shared: Arc::clone(&shared), listener: Listener::Admin })
        .add_service(admin_service)
        .add_service(admin_health_server.max_decoding_message_size(MAX_SMALL_REQUEST))
        .add_service(reflection().build_v1()?.max_decoding_message_size(MAX_SMALL_REQUEST))
        .add_service(reflection().build_v1alpha()?.max_decoding_message_size(MAX_SMALL_REQUEST))
        .serve_with_incoming_shutdown(ReceiverStream::new(connections), stopped(stop));

    let served = tokio::try_join!(service, admin);
    shared.set_phase(Phase::Stopping);
    helpers.abort_all();
    drop((service_file, admin_file));
    served?;
    Ok(())
}

/// Whether a peer is a caller, or on the admin listener an admin.
fn is_known(shared: &Arc<Shared>, listener: Listener) -> IsKnown {
    let shared = Arc::clone(shared);
    Arc::new(move |peer| {
        let now = shared.clock.now();
        now.is_ok_and(|now| context::identify(&shared, listener, peer, now).is_ok())
    })
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone: then it is time to stop, too.
    drop(stop.wait_for(|stop| *stop).await);
}

async fn follow_tls(tls: Arc<Tls>, shared: Arc<Shared>, listener: Listener) {
    let report = async {
        let mut said = None;
        loop {
            let validity = tls.validity();
            shared.set_certificate(listener == Listener::Admin, validity);
            let expiry = validity.end;
            if shared.clock.now().is_ok_and(|now| now > expiry) && said != Some(expiry) {
                tracing::error!(%expiry, "the TLS certificate has expired: callers refuse it");
                said = Some(expiry);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = Arc::clone(&tls).follow() => {}
        () = report => {}
    }
}

fn server(limits: &LimitsConfig) -> Server {
    Server::builder()
        .max_concurrent_streams(limits.streams_per_connection)
        .http2_max_header_list_size(16 * 1024)
        .http2_max_pending_accept_reset_streams(Some(20))
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        // With a grace of its own the server would cut the client off without GOAWAY: the connection
        // enforces the grace instead.
        .max_connection_age(limits.connection_age)
}

/// The reflection services, in the version of today and in the one that many tools still ask for.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
