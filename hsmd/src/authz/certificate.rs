//! The peer of a TLS connection: what its certificate, verified by the handshake, says of it.

use hsmd_chain::Timestamp;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::CertificatePeer;

/// Why a certificate names no peer.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It can't be parsed.
    #[error("the client certificate is malformed: {0}")]
    Malformed(String),
    /// Its end is no time that we can name.
    #[error("the client certificate has no usable end of validity")]
    Validity,
}

/// Reads names and end of validity of a DER certificate that the handshake has verified.
///
/// # Errors
/// [`CertificateError`].
pub fn certificate_peer(der: &[u8]) -> Result<CertificatePeer, CertificateError> {
    let malformed = |error: String| CertificateError::Malformed(error);
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|error| malformed(error.to_string()))?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| malformed(error.to_string()))?
        .map(|extension| {
            extension
                .value
                .general_names
                .iter()
                .filter_map(|name| match name {
                    GeneralName::URI(name) | GeneralName::DNSName(name) => Some((*name).to_owned()),
                    _ => None,
                })
                .collect()
        })
        .unwrap_or_default();
    Ok(CertificatePeer { names, not_after: not_after(&certificate)? })
}

/// The end of validity of a DER certificate.
///
/// # Errors
/// [`CertificateError`].
pub fn end_of_validity(der: &[u8]) -> Result<Timestamp, CertificateError> {
    let (_, certificate) = X509Certificate::from_der(der)
        .map_err(|error| CertificateError::Malformed(error.to_string()))?;
    not_after(&certificate)
}

fn not_after(certificate: &X509Certificate<'_>) -> Result<Timestamp, CertificateError> {
    let seconds = certificate.validity().not_after.timestamp();
    seconds
        .checked_mul(1000)
        .and_then(|millis| Timestamp::from_unix_millis(millis).ok())
        .ok_or(CertificateError::Validity)
}
