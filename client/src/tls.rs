//! Connections to an https endpoint: mutual TLS whose files are read again when they change.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hsmd_support::tls::{self, ClientError};
use hsmd_support::{Watched, chain, dial};
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::{ConnectError, TlsOptions};

/// Makes connections to one endpoint.
pub(crate) struct Connector {
    host: String,
    port: u16,
    name: ServerName<'static>,
    files: Watched<ClientConfig, ConnectError>,
}

impl Connector {
    /// Reads the files for the first time.
    pub(crate) fn new(endpoint: &Uri, options: &TlsOptions) -> Result<Self, ConnectError> {
        let host = endpoint.host().unwrap_or_default();
        let host = host.trim_matches(['[', ']']).to_owned();
        let name = options.server_name.as_ref().unwrap_or(&host).clone();
        let name =
            ServerName::try_from(name.clone()).map_err(|_| ConnectError::ServerName(name))?;
        let TlsOptions { ca_file, certificate_file, key_file, .. } = options;
        let watched = [ca_file, certificate_file, key_file].map(Clone::clone);
        let (options, text) = (options.clone(), endpoint.to_string());
        let files = Watched::load(watched, move || load(&options, &text))?;
        Ok(Self { host, port: endpoint.port_u16().unwrap_or(443), name, files })
    }

    /// Whether the files have changed, and what they hold now is used from the next connection on. Files
    /// that do not fit are as if they had not changed.
    pub(crate) fn has_changed(&self) -> bool {
        match self.files.refresh() {
            Ok(None) => false,
            Ok(Some(_)) => {
                tracing::info!("TLS files have changed and are in use");
                true
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "TLS files have changed but do not fit");
                false
            }
        }
    }

    /// Connects with what the files held when they were last looked at.
    pub(crate) async fn connect(self: Arc<Self>) -> io::Result<TokioIo<Stream>> {
        let tcp = dial(&self.host, self.port).await.map_err(|error| {
            let text = format!("cannot connect to {}:{}: {error}", self.host, self.port);
            io::Error::new(error.kind(), text)
        })?;
        let peer = tcp.peer_addr()?;
        let connector = TlsConnector::from(self.files.current());
        let tls = connector.connect(self.name.clone(), tcp).await;
        let tls = tls.map_err(|error| failure(peer, &error))?;
        Ok(TokioIo::new(Stream { tls: Box::new(tls), peer }))
    }
}

fn load(options: &TlsOptions, endpoint: &str) -> Result<ClientConfig, ConnectError> {
    let own = (options.certificate_file.as_path(), options.key_file.as_path());
    let mut config = tls::client(&options.ca_file, Some(own)).map_err(|error| match error {
        ClientError::File(error) => ConnectError::File(error),
        ClientError::Config(source) => ConnectError::Tls { endpoint: endpoint.to_owned(), source },
    })?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// A TLS connection whose errors name the peer, and its alert where it sent one.
pub(crate) struct Stream {
    tls: Box<TlsStream<TcpStream>>,
    peer: SocketAddr,
}

fn failure(peer: SocketAddr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("TLS with {peer}: {error}"))
}

impl Stream {
    fn named<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        outcome.map_err(|error| failure(self.peer, &error))
    }

    /// After a failed write: with TLS 1.3 a daemon refuses our certificate only after the handshake, and
    /// closes the connection. Its alert is then still to be read.
    fn failed(&mut self, context: &mut Context<'_>, error: io::Error) -> io::Error {
        let mut byte = [0];
        match Pin::new(&mut self.tls).poll_read(context, &mut ReadBuf::new(&mut byte)) {
            Poll::Ready(Err(alert)) if alert.kind() == io::ErrorKind::InvalidData => {
                failure(self.peer, &alert)
            }
            _ => failure(self.peer, &error),
        }
    }

    fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: io::Result<T>,
    ) -> Poll<io::Result<T>> {
        Poll::Ready(outcome.map_err(|error| self.failed(context, error)))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = ready!(Pin::new(&mut self.tls).poll_read(context, into));
        Poll::Ready(self.named(outcome))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = ready!(Pin::new(&mut self.tls).poll_write(context, bytes));
        self.written(context, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = ready!(Pin::new(&mut self.tls).poll_flush(context));
        self.written(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = ready!(Pin::new(&mut self.tls).poll_shutdown(context));
        Poll::Ready(self.named(outcome))
    }
}
