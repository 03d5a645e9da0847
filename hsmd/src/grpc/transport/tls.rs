//! Mutual TLS whose files are read again when they change, as cert-manager and SPIRE change them.
//! A new client authority closes the connections that the old one let in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hsmd_chain::Timestamp;
use hsmd_runtime::LogLimit;
use hsmd_support::tls::{PemError, authorities, certificates, private_key};
use hsmd_support::{Watched, chain};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::sync::watch;

use super::origin::Origin;
use crate::authz::{Validity, validity};
use crate::config::{TlsListenConfig, TlsVersion};

/// How often the files are looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Why TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read or holds nothing of use.
    #[error(transparent)]
    File(#[from] PemError),
    /// The certificate's validity can't be read.
    #[error("cannot use {path}: {message}")]
    Validity {
        /// The certificate's file.
        path: String,
        message: String,
    },
    /// The parts do not fit.
    #[error("certificate, key and client_ca do not make a TLS configuration")]
    Config(#[source] rustls::Error),
    /// The client authorities are of no use.
    #[error("client_ca is not usable")]
    Verifier(#[source] VerifierBuilderError),
}

/// The current TLS configuration.
#[derive(Debug)]
pub struct Tls {
    files: Watched<Loaded, TlsError>,
    /// Those of the current configuration, for the connections that they let in.
    authorities: watch::Sender<Arc<RootCertStore>>,
    failed: LogLimit,
}

/// What the files make.
#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    /// That of our own certificate.
    validity: Validity,
    authorities: Arc<RootCertStore>,
}

impl Tls {
    pub fn load(files: &TlsListenConfig) -> Result<Self, TlsError> {
        let TlsListenConfig { certificate, key, client_ca, .. } = files;
        let (watched, files) = ([certificate, key, client_ca].map(Clone::clone), files.clone());
        let files = Watched::load(watched, move || load(&files))?;
        let authorities = watch::Sender::new(Arc::clone(&files.current().authorities));
        Ok(Self { files, authorities, failed: LogLimit::default() })
    }

    /// The configuration for a new connection.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.files.current().config)
    }

    /// From when until when our own certificate is valid.
    pub fn validity(&self) -> Validity {
        self.files.current().validity
    }

    /// Logs that a handshake failed.
    pub fn handshake_failed(&self, origin: Origin, error: &str) {
        if self.failed.count(Instant::now()) {
            tracing::info!(?origin, error, "TLS handshake failed");
        }
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
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            if let Some(count) = self.failed.due(Instant::now()) {
                tracing::info!(count, "more TLS handshakes failed");
            }
            match self.files.refresh() {
                Ok(None) => {}
                Ok(Some(loaded)) => {
                    let closes = self.authorities.send_if_modified(|current| {
                        let changed = current.roots != loaded.authorities.roots;
                        *current = Arc::clone(&loaded.authorities);
                        changed
                    });
                    tracing::info!(closes, "TLS files have changed and are in use");
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
/// [`TlsError::File`], [`TlsError::Validity`], [`TlsError::Config`] or [`TlsError::Verifier`].
pub fn check(files: &TlsListenConfig) -> Result<Timestamp, TlsError> {
    load(files).map(|loaded| loaded.validity.end)
}

fn load(files: &TlsListenConfig) -> Result<Loaded, TlsError> {
    let certificates = certificates(&files.certificate)?;
    let key = private_key(&files.key)?;
    let authorities = Arc::new(authorities(&files.client_ca)?);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(
        Arc::clone(&authorities),
        Arc::clone(&provider),
    )
    .build()
    .map_err(TlsError::Verifier)?;
    let versions: &[_] = match files.min_version {
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
        TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
    };
    let validity = certificates
        .first()
        .ok_or_else(|| PemError::NoCertificate(files.certificate.clone()).into())
        .and_then(|certificate| {
            validity(certificate).map_err(|error| TlsError::Validity {
                path: files.certificate.display().to_string(),
                message: error.to_string(),
            })
        })?;
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
    Ok(Loaded { config: Arc::new(config), validity, authorities })
}
