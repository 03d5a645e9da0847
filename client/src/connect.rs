//! Where the daemon is and how to reach it: Unix socket, or TCP with mutual TLS.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use tonic::transport::Endpoint;

use crate::ConnectError;
use crate::connection::Connection;
use crate::tls::Connector;

/// The longest message accepted from a daemon: a page of 1000 events has about 700 kB.
pub(crate) const MAX_MESSAGE: usize = 16 << 20;

/// How to reach a daemon's listener and how patient to be.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// `unix:///path`, `https://host:port` (needs [`tls`](Self::tls)), or `http://` with a loopback
    /// address, which a daemon serves only where its configuration explicitly allows it.
    pub endpoint: String,
    /// The files of mutual TLS; only used with `https`.
    pub tls: Option<TlsOptions>,
    /// How long a connection attempt may take. Default 2 s.
    pub connect_timeout: Duration,
    /// How long a call may take, all its attempts together. Default 10 s.
    pub deadline: Duration,
    /// Whether calls that are safe to repeat are repeated within the deadline when the failure
    /// [is retryable](crate::CallError::is_retryable). Default true.
    pub retry: bool,
}

impl ConnectOptions {
    /// The defaults for an endpoint.
    #[must_use]
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            tls: None,
            connect_timeout: Duration::from_secs(2),
            deadline: Duration::from_secs(10),
            retry: true,
        }
    }

    /// Sets the files of mutual TLS.
    #[must_use]
    pub fn tls(mut self, tls: TlsOptions) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets how long a call may take, all its attempts together.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets whether safe calls are repeated.
    #[must_use]
    pub fn retry(mut self, retry: bool) -> Self {
        self.retry = retry;
        self
    }

    /// The connection, which the first call makes.
    pub(crate) fn connection(&self) -> Result<Connection, ConnectError> {
        match self.endpoint.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') && path.len() > 1 => {
                Ok(self.lasting(self.parse(&self.endpoint)?))
            }
            Some(("https", rest)) => self.with_tls(rest),
            Some(("http", _)) => {
                let endpoint = self.parse(&self.endpoint)?;
                Ok(self.lasting(self.loopback(endpoint)?))
            }
            _ => Err(ConnectError::Endpoint(self.endpoint.clone())),
        }
    }

    fn lasting(&self, endpoint: Endpoint) -> Connection {
        Connection::Lasting(self.patient(endpoint).connect_lazy())
    }

    fn patient(&self, endpoint: Endpoint) -> Endpoint {
        endpoint
            .connect_timeout(self.connect_timeout)
            // A peer that vanished without a word is noticed while a watch waits for an event.
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
    }

    fn parse(&self, endpoint: &str) -> Result<Endpoint, ConnectError> {
        Endpoint::from_shared(endpoint.to_owned())
            .map_err(|_| ConnectError::Endpoint(self.endpoint.clone()))
    }

    fn loopback(&self, endpoint: Endpoint) -> Result<Endpoint, ConnectError> {
        let host = endpoint.uri().host().unwrap_or_default();
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        if address.is_ok_and(|address| address.is_loopback()) {
            Ok(endpoint)
        } else {
            Err(ConnectError::Endpoint(self.endpoint.clone()))
        }
    }

    /// For tonic our own TLS is plaintext, except for the scheme that travels with each request.
    fn with_tls(&self, rest: &str) -> Result<Connection, ConnectError> {
        let Some(tls) = &self.tls else {
            return Err(ConnectError::TlsMissing(self.endpoint.clone()));
        };
        let malformed = |_| ConnectError::Endpoint(self.endpoint.clone());
        let origin: Uri = self.endpoint.parse().map_err(malformed)?;
        let connector = Connector::new(&origin, tls)?;
        let endpoint = self.parse(&format!("http://{rest}"))?.origin(origin);
        Ok(Connection::renewed(self.patient(endpoint), connector))
    }
}

/// The PEM files of mutual TLS. They are looked at once a second while calls are made: when they have changed,
/// the next call makes a new connection with what they hold then, and calls that have begun go on over the
/// old one. While they do not fit together what they held before is used.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// The authority that issued the daemon's certificate. No other is trusted.
    pub ca_file: PathBuf,
    /// Our certificate chain, whose SAN (URI or DNS) hsmd.toml knows as a caller.
    pub certificate_file: PathBuf,
    /// Our private key, which only its owner may read.
    pub key_file: PathBuf,
    /// The name that the daemon's certificate must carry, if not the endpoint's host.
    pub server_name: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn endpoints_are_told_apart() {
        for good in ["unix:///run/hsmd/service.sock", "http://127.0.0.1:7", "http://[::1]:7"] {
            ConnectOptions::new(good).connection().expect(good);
        }
        for bad in
            ["", "unix://", "unix://run", "/run/x", "http://10.0.0.1:7", "http://a", "ftp://a"]
        {
            let error = ConnectOptions::new(bad).connection().map(drop).expect_err(bad);
            assert!(matches!(error, ConnectError::Endpoint(_)), "{bad}: {error}");
        }
        let error =
            ConnectOptions::new("https://hsm:7").connection().map(drop).expect_err("no files");
        assert!(matches!(error, ConnectError::TlsMissing(_)));
    }

    #[tokio::test]
    async fn an_unreadable_tls_file_is_named() {
        let tls = TlsOptions {
            ca_file: "/nowhere/ca.pem".into(),
            certificate_file: "/nowhere/cert.pem".into(),
            key_file: "/nowhere/key.pem".into(),
            server_name: None,
        };
        let error = ConnectOptions::new("https://hsm:7").tls(tls).connection().map(drop);
        assert!(error.expect_err("no file").to_string().contains("/nowhere/key.pem"));
    }
}
