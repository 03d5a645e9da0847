//! Connections to `rediss://`: TLS whose files are read again when they change, so that a renewed
//! certificate is used from the next connection on.

use std::{io, path::PathBuf};

use hsmd_support::{
    Watched, chain, dial,
    tls::{self, ClientError, PemError},
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The PEM files of TLS to Redis.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// The authority that issued Redis' certificate. No other is trusted.
    pub ca_file: PathBuf,
    /// Our certificate chain and private key, for a Redis that wants them (`tls-auth-clients`).
    pub client: Option<ClientFiles>,
    /// The name that Redis' certificate must carry, if not the URL's host.
    pub server_name: Option<String>,
}

/// Our own certificate.
#[derive(Clone, Debug)]
pub struct ClientFiles {
    /// The certificate chain.
    pub certificate_file: PathBuf,
    /// Its private key, which no other user may read.
    pub key_file: PathBuf,
}

/// Why TLS to Redis can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read or holds nothing of use.
    #[error(transparent)]
    File(#[from] PemError),
    /// The name can't stand in a certificate.
    #[error("{0:?} is no name of a server")]
    ServerName(String),
    /// Certificate and key do not fit.
    #[error("the files of [redis.tls] do not make a TLS configuration")]
    Config(#[source] rustls::Error),
}

/// Makes connections to one Redis.
pub(crate) struct Connector {
    host: String,
    port: u16,
    name: ServerName<'static>,
    files: Watched<ClientConfig, TlsError>,
}

impl Connector {
    /// Reads the files for the first time.
    pub(crate) fn new(host: &str, port: u16, options: &TlsOptions) -> Result<Self, TlsError> {
        let name = options.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name.clone()).map_err(|_| TlsError::ServerName(name))?;
        let own = options.client.iter();
        let own = own.flat_map(|own| [own.certificate_file.clone(), own.key_file.clone()]);
        let watched: Vec<_> = own.chain([options.ca_file.clone()]).collect();
        let options = options.clone();
        let files = Watched::load(watched, move || load(&options))?;
        Ok(Self { host: host.to_owned(), port, name, files })
    }

    /// Connects with what the files hold now; files that do not fit are as if they had not changed.
    pub(crate) async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        match self.files.refresh() {
            Ok(None) => {}
            Ok(Some(_)) => tracing::info!("the TLS files of Redis have changed and are in use"),
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(error, "the TLS files of Redis have changed but do not fit");
            }
        }
        let tcp = dial(&self.host, self.port).await?;
        TlsConnector::from(self.files.current()).connect(self.name.clone(), tcp).await
    }
}

fn load(options: &TlsOptions) -> Result<ClientConfig, TlsError> {
    let own = options.client.as_ref();
    let own = own.map(|own| (own.certificate_file.as_path(), own.key_file.as_path()));
    tls::client(&options.ca_file, own).map_err(|error| match error {
        ClientError::File(error) => TlsError::File(error),
        ClientError::Config(error) => TlsError::Config(error),
    })
}
