//! Mutual TLS whose files are read again when they change, as cert-manager and SPIRE change them.
//! A new client authority closes the connections that the old one let in.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use hsmd_chain::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::sync::watch;

use crate::authz::end_of_validity;
use crate::config::{TlsListenConfig, TlsVersion, read_private};
use crate::keylog::chain;

/// How often the files are looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Why TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read or holds nothing of use.
    #[error("cannot use {path}: {message}")]
    File {
        /// The file.
        path: String,
        /// Why.
        message: String,
    },
    /// The parts do not fit.
    #[error("certificate, key and client_ca do not make a TLS configuration")]
    Config(#[source] rustls::Error),
    /// The client authorities are of no use.
    #[error("client_ca is not usable: {0}")]
    Verifier(String),
}

/// The current TLS configuration.
#[derive(Debug)]
pub struct Tls {
    files: TlsListenConfig,
    current: ArcSwap<ServerConfig>,
    expiry: ArcSwap<Timestamp>,
    authorities: watch::Sender<Vec<u8>>,
    /// What the files were before they were first read.
    seen: State,
}

/// What tells a changed file: time of change and size, of each.
type State = [Option<(SystemTime, u64)>; 3];

impl Tls {
    pub fn load(files: &TlsListenConfig) -> Result<Self, TlsError> {
        let seen = state(files);
        let (config, expiry) = load(files)?;
        let authorities = read(&files.client_ca)?;
        Ok(Self {
            files: files.clone(),
            current: ArcSwap::from_pointee(config),
            expiry: ArcSwap::from_pointee(expiry),
            authorities: watch::Sender::new(authorities),
            seen,
        })
    }

    /// The configuration for a new connection.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// When our own certificate ends.
    pub fn expiry(&self) -> Timestamp {
        **self.expiry.load()
    }

    /// Done when the client authorities are others than now.
    pub fn authorities_changed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut changes = self.authorities.subscribe();
        async move {
            if changes.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// Reads the files again whenever one has changed, until dropped. Files that do not fit leave
    /// everything as it was.
    pub async fn follow(self: Arc<Self>) {
        let mut seen = self.seen;
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            let now = state(&self.files);
            if now == seen {
                continue;
            }
            match load(&self.files).and_then(|loaded| Ok((loaded, read(&self.files.client_ca)?))) {
                Ok(((config, expiry), authorities)) => {
                    self.current.store(Arc::new(config));
                    self.expiry.store(Arc::new(expiry));
                    let closes = self.authorities.send_if_modified(|current| {
                        let changed = *current != authorities;
                        *current = authorities;
                        changed
                    });
                    tracing::info!(closes, "TLS files have changed and are in use");
                    seen = now;
                }
                // Perhaps one of the files is still to come: look again.
                Err(error) => {
                    tracing::warn!(error = chain(&error), "TLS files have changed but do not fit");
                }
            }
        }
    }
}

/// Whether the files make a TLS configuration, and until when the certificate is valid.
///
/// # Errors
/// What is wrong with them.
pub fn check(files: &TlsListenConfig) -> Result<Timestamp, TlsError> {
    load(files).map(|(_, expiry)| expiry)
}

fn state(files: &TlsListenConfig) -> State {
    [&files.certificate, &files.key, &files.client_ca].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

fn load(files: &TlsListenConfig) -> Result<(ServerConfig, Timestamp), TlsError> {
    let certificates = certificates(&files.certificate)?;
    let key = private_key(&files.key)?;
    let mut roots = RootCertStore::empty();
    for authority in self::certificates(&files.client_ca)? {
        roots.add(authority).map_err(|error| file_error(&files.client_ca, &error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| TlsError::Verifier(error.to_string()))?;
    let versions: &[_] = match files.min_version {
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
        TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
    };
    let expiry = certificates
        .first()
        .map(|certificate| end_of_validity(certificate))
        .transpose()
        .map_err(|error| file_error(&files.certificate, &error))?;
    let expiry = expiry.ok_or_else(|| file_error(&files.certificate, &"no certificate"))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(TlsError::Config)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates, key)
        .map_err(TlsError::Config)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would carry a certificate that was verified against older authorities.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok((config, expiry))
}

/// The private key, if nobody else can read it.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read_private(path).map_err(|error| file_error(path, &error))?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| file_error(path, &error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| file_error(path, &error))?.collect();
    let found = found.map_err(|error| file_error(path, &error))?;
    if found.is_empty() {
        return Err(file_error(path, &"no certificate in it"));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| file_error(path, &error))
}

fn file_error(path: &Path, error: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { path: path.display().to_string(), message: error.to_string() }
}
