//! The peer of a TLS connection: what its certificate, verified by the handshake, says of it.

use hsmd_chain::Timestamp;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

use super::{CertificatePeer, Denied, Peer};
use crate::config::Who;

/// Why a certificate names no peer.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It can't be parsed.
    #[error("the client certificate is malformed: {0}")]
    Malformed(String),
    /// Its start or its end is no time that we can name.
    #[error("the client certificate has no usable validity")]
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

/// The one entry that a certificate, valid at `now`, names.
pub(super) fn find_certificate<'a, T>(
    entries: &'a [T],
    certificate: &CertificatePeer,
    now: Timestamp,
    who: impl Fn(&T) -> &Who,
) -> Result<Option<&'a T>, Denied> {
    let CertificatePeer { names, not_after } = certificate;
    let peer = || Peer::Certificate(certificate.clone()).to_string();
    if now > *not_after {
        return Err(Denied::CertificateExpired(peer()));
    }
    let is_named = |who: &Who| matches!(who, Who::San(san) if names.contains(san));
    let mut matching = entries.iter().filter(|entry| is_named(who(entry)));
    match (matching.next(), matching.next()) {
        (Some(_), Some(_)) => Err(Denied::Ambiguous(peer())),
        (found, _) => Ok(found),
    }
}

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its first instant.
    pub start: Timestamp,
    /// Its last instant.
    pub end: Timestamp,
}

/// The validity of a DER certificate.
///
/// # Errors
/// [`CertificateError`].
pub fn validity(der: &[u8]) -> Result<Validity, CertificateError> {
    let (_, certificate) = X509Certificate::from_der(der)
        .map_err(|error| CertificateError::Malformed(error.to_string()))?;
    let start = time(certificate.validity().not_before)?;
    Ok(Validity { start, end: not_after(&certificate)? })
}

fn not_after(certificate: &X509Certificate<'_>) -> Result<Timestamp, CertificateError> {
    time(certificate.validity().not_after)
}

fn time(time: ASN1Time) -> Result<Timestamp, CertificateError> {
    time.timestamp()
        .checked_mul(1000)
        .and_then(|millis| Timestamp::from_unix_millis(millis).ok())
        .ok_or(CertificateError::Validity)
}
