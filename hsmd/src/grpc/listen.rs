//! The listeners: sockets bound or inherited, and the servers behind them.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hsmd_proto::FILE_DESCRIPTOR_SET;
use hsmd_proto::v1::admin_server::AdminServer;
use hsmd_proto::v1::key_log_server::KeyLogServer;
use hsmd_proto::v1::signer_server::SignerServer;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic_health::server::health_reporter;

use super::accept;
use super::admin::AdminService;
use super::door::{Asks, DoorLayer};
use super::gate_layer::GateLayer;
use super::keylog::KeyLogService;
use super::limit::Limit;
use super::share::Purse;
use super::signer::SignerService;
use super::tls::{Tls, TlsError};
use super::{MAX_REQUEST, MAX_SMALL_REQUEST};
use crate::config::{LimitsConfig, ListenConfig, UnixListenConfig};
use crate::daemon::activation::Inherited;
use crate::daemon::health;
use crate::daemon::state::{Phase, Shared};

/// Accepted connections that wait for the server.
const BACKLOG: usize = 64;

/// Bound sockets, not yet served. The socket files that we made go when it is dropped.
#[derive(Debug)]
pub struct Listeners {
    service: Socket,
    admin: Socket,
    tls: Option<(TcpListener, Arc<Tls>)>,
    plaintext: Option<TcpListener>,
    limits: LimitsConfig,
}

/// Why the daemon can't listen or serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A socket can't be bound.
    #[error("cannot listen on {at}")]
    Bind {
        /// The socket's path or address.
        at: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something else is at the socket's path.
    #[error("{0} exists and is not a socket: remove it or change the path")]
    NotASocket(PathBuf),
    /// A living process listens there.
    #[error("a process is listening on {0} already")]
    InUse(PathBuf),
    /// TLS can't be set up.
    #[error("listen.tls")]
    Tls(#[from] TlsError),
    /// The server failed.
    #[error("the gRPC server failed")]
    Serve(#[from] tonic::transport::Error),
    /// The reflection service can't be made.
    #[error("the gRPC descriptors are not usable")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Binds what systemd did not hand over. A socket file that a dead process left is replaced.
///
/// # Errors
/// A path or an address is taken or can't be bound, or TLS can't be set up.
pub async fn bind(
    config: &ListenConfig,
    limits: &LimitsConfig,
    inherited: Inherited,
) -> Result<Listeners, ServeError> {
    let tls = match &config.tls {
        None => None,
        Some(tls) => Some((bind_tcp(tls.address).await?, Arc::new(Tls::load(tls)?))),
    };
    let plaintext = match &config.plaintext {
        None => None,
        Some(plaintext) => Some(bind_tcp(plaintext.address).await?),
    };
    Ok(Listeners {
        service: Socket::bind(&config.service, inherited.service).await?,
        admin: Socket::bind(&config.admin, inherited.admin).await?,
        tls,
        plaintext,
        limits: limits.clone(),
    })
}

/// Serves until `stop` becomes true, then finishes what was accepted.
///
/// # Errors
/// A server fails.
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

    let Listeners { service, admin, tls, plaintext, limits } = listeners;
    // Each listener counts for itself: whoever floods one does not keep callers out of the others, nor
    // the admin. Memory there is only once.
    let bytes = Arc::new(Purse::new(limits.bytes_in_flight));
    let limit = || Limit::new(limits.clone(), Arc::clone(&bytes));
    let (accepted, connections) = mpsc::channel(BACKLOG);
    let (listener, service_file) = service.split();
    helpers.spawn(accept::unix(listener, limit(), accepted.clone(), stop.clone()));
    if let Some((listener, tls)) = tls {
        helpers.spawn(follow_tls(Arc::clone(&tls), Arc::clone(&shared)));
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
        .layer(DoorLayer { shared: Arc::clone(&shared), asks: Asks::Callers })
        .layer(GateLayer { release_check: Arc::clone(shared.signer.release_check()) })
        .add_service(signer)
        .add_service(key_log)
        .add_service(service_health_server.max_decoding_message_size(MAX_SMALL_REQUEST))
        .add_service(reflection()?)
        .serve_with_incoming_shutdown(ReceiverStream::new(connections), stopped(stop.clone()));

    let (accepted, connections) = mpsc::channel(BACKLOG);
    let (listener, admin_file) = admin.split();
    helpers.spawn(accept::unix(listener, limit(), accepted, stop.clone()));
    let admin_service = AdminServer::new(AdminService { shared: Arc::clone(&shared) })
        .max_decoding_message_size(MAX_SMALL_REQUEST);
    let admin = server(&limits)
        .layer(DoorLayer { shared: Arc::clone(&shared), asks: Asks::Nobody })
        .add_service(admin_service)
        .add_service(admin_health_server.max_decoding_message_size(MAX_SMALL_REQUEST))
        .add_service(reflection()?)
        .serve_with_incoming_shutdown(ReceiverStream::new(connections), stopped(stop));

    let served = tokio::try_join!(service, admin);
    shared.set_phase(Phase::Stopping);
    helpers.abort_all();
    drop((service_file, admin_file));
    served?;
    Ok(())
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that nobody is left to say stop: then it is time, too.
    drop(stop.wait_for(|stop| *stop).await);
}

async fn follow_tls(tls: Arc<Tls>, shared: Arc<Shared>) {
    let report = async {
        loop {
            shared.set_certificate_expiry(tls.expiry().unix_millis());
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
        // With a grace of its own the server would not tell the client, only cut it off after both: here
        // the connection does that.
        .max_connection_age(limits.connection_age)
}

fn reflection() -> Result<
    tonic_reflection::server::v1::ServerReflectionServer<
        impl tonic_reflection::server::v1::ServerReflection,
    >,
    ServeError,
> {
    Ok(tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?
        .max_decoding_message_size(MAX_SMALL_REQUEST))
}

async fn bind_tcp(address: std::net::SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Bind { at: address.to_string(), source })
}

/// A Unix socket, and its file if that is ours to remove.
#[derive(Debug)]
struct Socket {
    listener: UnixListener,
    file: Option<SocketFile>,
}

impl Socket {
    async fn bind(
        config: &UnixListenConfig,
        inherited: Option<std::os::unix::net::UnixListener>,
    ) -> Result<Self, ServeError> {
        let path = &config.path;
        let error = |source| ServeError::Bind { at: path.display().to_string(), source };
        if let Some(listener) = inherited {
            listener.set_nonblocking(true).map_err(error)?;
            return Ok(Self {
                listener: UnixListener::from_std(listener).map_err(error)?,
                file: None,
            });
        }
        remove_stale(path).await?;
        let listener = UnixListener::bind(path).map_err(error)?;
        let file = SocketFile(path.clone());
        std::fs::set_permissions(path, Permissions::from_mode(config.mode)).map_err(error)?;
        Ok(Self { listener, file: Some(file) })
    }

    fn split(self) -> (UnixListener, Option<SocketFile>) {
        (self.listener, self.file)
    }
}

async fn remove_stale(path: &Path) -> Result<(), ServeError> {
    let error = |source| ServeError::Bind { at: path.display().to_string(), source };
    match std::fs::symlink_metadata(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(error(cause)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(ServeError::NotASocket(path.into()))
        }
        Ok(_) => match UnixStream::connect(path).await {
            Ok(_) => Err(ServeError::InUse(path.into())),
            Err(_) => std::fs::remove_file(path).map_err(error),
        },
    }
}

/// Removes the socket file at the end.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove the socket");
        }
    }
}
