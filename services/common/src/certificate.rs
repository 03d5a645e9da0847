//! The certificate that hsmd is shown, for `/metrics`: an alert asks for its renewal by the share of its
//! lifetime that is left.

use std::{fmt, path::Path};

use hsmd_runtime::Metrics;
use hsmd_support::tls;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::gauge::ConstGauge,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::config::{HsmConfig, TlsConfig};

/// What is said of files that can't be used: they have ended, long ago. A connection that stands goes on with
/// the files before them, so that nothing else would tell before its certificate ends.
const UNUSABLE: (i64, i64) = (0, 1);

/// The certificate of `[hsm.tls]`, if there is one. Its files are read whenever metrics are, so that a
/// renewed one is seen at once.
#[derive(Clone, Debug, Default)]
pub struct Certificate(Option<TlsConfig>);

impl Certificate {
    /// The configured one.
    #[must_use]
    pub fn of(config: &HsmConfig) -> Self {
        Self(config.tls.clone())
    }

    /// Adds the gauges `certificate_start_timestamp_seconds` and `certificate_expiry_timestamp_seconds`;
    /// without TLS they are absent, and of files that can't be used they say that the certificate has ended.
    pub fn register(&self, metrics: &Metrics) {
        if self.0.is_some() {
            let collector = Box::new(self.clone());
            metrics.register(|registry| registry.register_collector(collector));
        }
    }

    /// Its first and its last second, in Unix time.
    fn validity(&self) -> Option<(i64, i64)> {
        let files = self.0.as_ref()?;
        let own = (files.certificate_file.as_path(), files.key_file.as_path());
        let is_usable = tls::client(&files.ca_file, Some(own)).is_ok();
        Some(is_usable.then(|| of_file(own.0)).flatten().unwrap_or(UNUSABLE))
    }
}

fn of_file(file: &Path) -> Option<(i64, i64)> {
    let certificates = tls::certificates(file).ok()?;
    let (_, certificate) = X509Certificate::from_der(certificates.first()?).ok()?;
    let validity = certificate.validity();
    Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
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

    /// A self-signed certificate and its key.
    fn pems(from: i32, to: i32) -> (String, String) {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.not_before = rcgen::date_time_ymd(from, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(to, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        (parameters.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn metrics(certificate: Certificate) -> String {
        let mut registry = Registry::with_prefix("hsmd_app");
        registry.register_collector(Box::new(certificate));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn the_files_are_read_whenever_metrics_are() {
        let folder = tempfile::tempdir().unwrap();
        let [ca_file, certificate_file, key_file] =
            ["ca.crt", "tls.crt", "tls.key"].map(|name| folder.path().join(name));
        let (certificate_pem, key_pem) = pems(2026, 2027);
        fs::write(&ca_file, &certificate_pem).unwrap();
        fs::write(&certificate_file, &certificate_pem).unwrap();
        hsmd_support::durable::write(&key_file, key_pem.as_bytes()).unwrap();
        let files = TlsConfig {
            ca_file,
            certificate_file: certificate_file.clone(),
            key_file: key_file.clone(),
            server_name: None,
        };
        let certificate = Certificate(Some(files));
        let shows = |start: i64, expiry: i64| {
            let text = metrics(certificate.clone());
            for (name, instant) in [("start", start), ("expiry", expiry)] {
                let line = format!("\nhsmd_app_certificate_{name}_timestamp_seconds {instant}\n");
                assert!(text.contains(&line), "{line}: {text}");
            }
        };
        shows(1_767_225_600, 1_798_761_600);
        // A certificate without the key that fits is not in use.
        let (renewed, its_key) = pems(2026, 2028);
        fs::write(&certificate_file, renewed).unwrap();
        shows(0, 1);
        hsmd_support::durable::write(&key_file, its_key.as_bytes()).unwrap();
        shows(1_767_225_600, 1_830_297_600);
        for broken in ["", "no certificate"] {
            fs::write(&certificate_file, broken).unwrap();
            shows(0, 1);
        }
        assert_eq!(metrics(Certificate::default()), "# EOF\n");
    }
}
