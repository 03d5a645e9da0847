//! PEM files of TLS: certificates, private keys, authorities; and a client made of them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
};

use crate::{SecretError, secret};

/// Why a file of TLS can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// The file can't be read or is not PEM.
    #[error("cannot use {path}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What the PEM parser refused.
        #[source]
        source: pem::Error,
    },
    /// The private key can't be read, or others may read it.
    #[error(transparent)]
    Key(#[from] SecretError),
    /// There is no certificate in the file.
    #[error("cannot use {0}: no certificate in it")]
    NoCertificate(PathBuf),
    /// What should be an authority is none.
    #[error("cannot use {path} as an authority")]
    Authority {
        /// The file.
        path: PathBuf,
        /// What rustls refused.
        #[source]
        source: rustls::Error,
    },
}

/// Why there is no TLS client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file can't be used.
    #[error(transparent)]
    File(#[from] PemError),
    /// Certificate and key do not fit together.
    #[error("certificate and key do not fit together")]
    Config(#[from] rustls::Error),
}

/// A client that trusts the authorities of a file, and shows the certificate of `own`, certificate and key,
/// where it has one. It resumes no session: that would carry the certificate of an earlier connection.
///
/// # Errors
/// [`ClientError::File`], [`ClientError::Config`].
pub fn client(ca_file: &Path, own: Option<(&Path, &Path)>) -> Result<ClientConfig, ClientError> {
    let own = own.map(|(certificate_file, key_file)| {
        let key = private_key(key_file)?;
        Ok::<_, PemError>((certificates(certificate_file)?, key))
    });
    let own = own.transpose()?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities(ca_file)?);
    let mut config = match own {
        None => config.with_no_client_auth(),
        Some((certificates, key)) => config.with_client_auth_cert(certificates, key)?,
    };
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// All certificates of a file, at least one.
///
/// # Errors
/// [`PemError::Pem`], [`PemError::NoCertificate`].
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let failed = |source| PemError::Pem { path: path.into(), source };
    let found = CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<Vec<_>, _>>();
    let found = found.map_err(failed)?;
    if found.is_empty() { Err(PemError::NoCertificate(path.into())) } else { Ok(found) }
}

/// The private key of a file that only its owner may read.
///
/// # Errors
/// [`PemError::Key`] if the file can't be read or others may read it, [`PemError::Pem`] if there is no
/// key in it.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    let pem = secret::bytes(path)?;
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|source| PemError::Pem { path: path.into(), source })
}

/// The certificates of a file as the authorities to trust, and no others.
///
/// # Errors
/// [`PemError::Pem`], [`PemError::Authority`] for a certificate that can't be used.
pub fn authorities(path: &Path) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(path)? {
        roots.add(authority).map_err(|source| PemError::Authority { path: path.into(), source })?;
    }
    Ok(roots)
}
