//! The listeners: sockets bound with their modes, and the servers behind them.

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
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic_health::server::health_reporter;

use super::MAX_REQUEST;
use super::admin::AdminService;
use super::gate_layer::GateLayer;
use super::keylog::KeyLogService;
use super::signer::SignerService;
use crate::authz::PeerStream;
use crate::config::{ListenConfig, UnixListenConfig};
use crate::health;
use crate::state::{Phase, Shared};

/// Bound sockets, not yet served. The socket files go when it is dropped.
#[derive(Debug)]
pub struct Listeners {
    service: (UnixListener, SocketFile),
    admin: (UnixListener, SocketFile),
}

/// Why the daemon can't listen or serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A socket can't be bound.
    #[error("cannot listen on {path}")]
    Bind {
        /// The socket.
        path: PathBuf,
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
    /// The server failed.
    #[error("the gRPC server failed")]
    Serve(#[from] tonic::transport::Error),
    /// The reflection service can't be made.
    #[error("the gRPC descriptors are not usable")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Binds both sockets. A socket file that a dead process left is replaced.
///
/// # Errors
/// A path is taken or can't be bound.
pub async fn bind(config: &ListenConfig) -> Result<Listeners, ServeError> {
    Ok(Listeners {
        service: bind_one(&config.service).await?,
        admin: bind_one(&config.admin).await?,
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
    let truthful = tokio::spawn(health::run(Arc::clone(&shared), service_health, admin_health));

    let signer = SignerServer::new(SignerService { shared: Arc::clone(&shared) })
        .max_decoding_message_size(MAX_REQUEST);
    let key_log = KeyLogServer::new(KeyLogService { shared: Arc::clone(&shared) });
    let (service_socket, service_file) = listeners.service;
    let service = server()
        .layer(GateLayer { gate: Arc::clone(shared.signer.gate()) })
        .add_service(signer)
        .add_service(key_log)
        .add_service(service_health_server)
        .add_service(reflection()?)
        .serve_with_incoming_shutdown(accept(service_socket), stopped(stop.clone()));

    let admin = AdminServer::new(AdminService { shared: Arc::clone(&shared) });
    let (admin_socket, admin_file) = listeners.admin;
    let admin = server()
        .add_service(admin)
        .add_service(admin_health_server)
        .add_service(reflection()?)
        .serve_with_incoming_shutdown(accept(admin_socket), stopped(stop));

    let served = tokio::try_join!(service, admin);
    shared.set_phase(Phase::Stopping);
    truthful.abort();
    drop((service_file, admin_file));
    served?;
    Ok(())
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that nobody is left to say stop: then it is time, too.
    drop(stop.wait_for(|stop| *stop).await);
}

fn server() -> Server {
    Server::builder()
        .max_concurrent_streams(1024)
        .http2_max_header_list_size(16 * 1024)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
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
        .build_v1()?)
}

fn accept(listener: UnixListener) -> impl Stream<Item = Result<PeerStream, io::Error>> {
    UnixListenerStream::new(listener).map(|stream: io::Result<UnixStream>| {
        stream.and_then(PeerStream::new).inspect_err(|error| {
            tracing::warn!(%error, "a connection was not accepted");
        })
    })
}

async fn bind_one(config: &UnixListenConfig) -> Result<(UnixListener, SocketFile), ServeError> {
    let path = &config.path;
    let bind_error = |source| ServeError::Bind { path: path.clone(), source };
    remove_stale(path).await?;
    let listener = UnixListener::bind(path).map_err(bind_error)?;
    let file = SocketFile(path.clone());
    std::fs::set_permissions(path, Permissions::from_mode(config.mode)).map_err(bind_error)?;
    Ok((listener, file))
}

async fn remove_stale(path: &Path) -> Result<(), ServeError> {
    let bind_error = |source| ServeError::Bind { path: path.into(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(bind_error(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(ServeError::NotASocket(path.into()))
        }
        Ok(_) => match UnixStream::connect(path).await {
            Ok(_) => Err(ServeError::InUse(path.into())),
            Err(_) => std::fs::remove_file(path).map_err(bind_error),
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
