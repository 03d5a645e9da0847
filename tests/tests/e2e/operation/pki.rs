//! Certificate authorities of a test, and what they issue.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use time::OffsetDateTime;

use hsmd_tests::Hsmd;

/// The name in the daemon's certificate.
pub(crate) const SERVER: &str = "hsmd.test";

/// An authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate with its key, in PEM.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        Self::until(name, CertificateParams::default().not_after)
    }

    pub(crate) fn until(name: &str, not_after: OffsetDateTime) -> Self {
        let mut params = CertificateParams::default();
        params.not_after = not_after;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Issues a certificate for URIs and DNS names, valid for an hour.
    pub(crate) fn issue(&self, names: &[&str]) -> Credentials {
        self.issue_until(names, in_seconds(3600))
    }

    pub(crate) fn issue_until(&self, names: &[&str], not_after: OffsetDateTime) -> Credentials {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names
            .iter()
            .map(|name| {
                let ia5 = (*name).try_into().unwrap();
                if name.contains("://") { SanType::URI(ia5) } else { SanType::DnsName(ia5) }
            })
            .collect();
        params.not_after = not_after;
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Credentials { certificate, key: key.serialize_pem() }
    }

    /// What a caller needs who trusts this authority for the daemon.
    pub(crate) fn client(&self, as_whom: Option<&Credentials>) -> Arc<ClientConfig> {
        self.client_of(as_whom, &rustls::version::TLS13)
    }

    pub(crate) fn client_of(
        &self,
        as_whom: Option<&Credentials>,
        version: &'static SupportedProtocolVersion,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match as_whom {
            None => config.with_no_client_auth(),
            Some(Credentials { certificate, key }) => {
                let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }
}

/// So many seconds from now; certificates know whole seconds only.
pub(crate) fn in_seconds(seconds: i64) -> OffsetDateTime {
    let now = hsmd_tests::now().unix_millis() / 1000;
    OffsetDateTime::from_unix_timestamp(now + seconds).unwrap()
}

/// The daemon's files, as its configuration names them.
pub(crate) struct Files<'a>(pub(crate) &'a Hsmd);

impl Files<'_> {
    pub(crate) fn write(&self, credentials: &Credentials, client_ca: &str) {
        self.write_certificate(credentials);
        self.write_key(credentials);
        self.write_client_ca(client_ca);
    }

    pub(crate) fn write_certificate(&self, credentials: &Credentials) {
        replace(&self.0.path("tls.crt"), &credentials.certificate);
    }

    pub(crate) fn write_key(&self, credentials: &Credentials) {
        hsmd_tests::write_private(&self.0.path("tls.key"), &credentials.key);
    }

    pub(crate) fn write_client_ca(&self, pem: &str) {
        replace(&self.0.path("ca.crt"), pem);
    }
}

/// Replaces a file in one step, as the tools that renew certificates do.
pub(crate) fn replace(path: &Path, text: &str) {
    let draft = path.with_extension("new");
    std::fs::write(&draft, text).unwrap();
    std::fs::rename(draft, path).unwrap();
}
