//! The certificate that hsmd is shown, for `/metrics`: an alert asks for its renewal by the share of its
//! lifetime that is left.

use std::{fmt, path::PathBuf};

use hsmd_runtime::Metrics;
use hsmd_support::tls;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::gauge::ConstGauge,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::config::HsmConfig;

/// The certificate of `[hsm.tls]`, if there is one. Its file is read whenever metrics are, so that a
/// renewed one is seen at once.
#[derive(Clone, Debug, Default)]
pub struct Certificate(Option<PathBuf>);

impl Certificate {
    /// The configured one.
    #[must_use]
    pub fn of(config: &HsmConfig) -> Self {
        Self(config.tls.as_ref().map(|tls| tls.certificate_file.clone()))
    }

    /// Adds the gauges `certificate_start_timestamp_seconds` and `certificate_expiry_timestamp_seconds`;
    /// without a certificate, or while its file can't be read, they are absent.
    pub fn register(&self, metrics: &Metrics) {
        if self.0.is_some() {
            let collector = Box::new(self.clone());
            metrics.register(|registry| registry.register_collector(collector));
        }
    }

    /// Its first and its last second, in Unix time.
    fn validity(&self) -> Option<(i64, i64)> {
        let certificates = tls::certificates(self.0.as_ref()?).ok()?;
        let (_, certificate) = X509Certificate::from_der(certificates.first()?).ok()?;
        let validity = certificate.validity();
        Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
    }
}

impl Collector for Certificate {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some((start, expiry)) = self.validity() else { return Ok(()) };
        for (name, help, instant) in [
            ("certificate_start_timestamp_seconds", "When its validity began", start),
            ("certificate_expiry_timestamp_seconds", "When the certificate ends", expiry),
        ] {
            let gauge = ConstGauge::new(instant);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;

    fn pem(from: i32, to: i32) -> String {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.not_before = rcgen::date_time_ymd(from, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(to, 1, 1);
        parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    }

    fn metrics(certificate: Certificate) -> String {
        let mut registry = Registry::with_prefix("hsmd_app");
        registry.register_collector(Box::new(certificate));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn the_file_is_read_whenever_metrics_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tls.crt");
        let certificate = Certificate(Some(path.clone()));
        fs::write(&path, pem(2026, 2027)).unwrap();
        let text = metrics(certificate.clone());
        assert!(
            text.contains("\nhsmd_app_certificate_start_timestamp_seconds 1767225600\n"),
            "{text}"
        );
        assert!(
            text.contains("\nhsmd_app_certificate_expiry_timestamp_seconds 1798761600\n"),
            "{text}"
        );
        fs::write(&path, pem(2026, 2028)).unwrap();
        let text = metrics(certificate.clone());
        assert!(
            text.contains("\nhsmd_app_certificate_expiry_timestamp_seconds 1830297600\n"),
            "{text}"
        );
        for broken in ["", "no certificate"] {
            fs::write(&path, broken).unwrap();
            assert_eq!(metrics(certificate.clone()), "# EOF\n");
        }
        assert_eq!(metrics(Certificate::default()), "# EOF\n");
    }
}
