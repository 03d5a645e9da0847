//! Callers over TCP: with mutual TLS or without, from any loopback address, each connection counted.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use hsmd_tests::{Hsmd, Rpc};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use crate::operation::pki::SERVER;

/// What an HTTP/2 client sends first, and settings without any.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// How somebody calls over TCP.
#[derive(Clone)]
pub(crate) struct Dial {
    pub(crate) address: SocketAddr,
    from: Ipv4Addr,
    tls: Option<Arc<ClientConfig>>,
}

/// A caller over TCP.
pub(crate) struct Remote {
    pub(crate) rpc: Rpc,
    connections: Arc<AtomicUsize>,
}

impl Dial {
    pub(crate) fn plaintext(address: SocketAddr) -> Self {
        Self { address, from: Ipv4Addr::LOCALHOST, tls: None }
    }

    pub(crate) fn tls(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        Self { address, from: Ipv4Addr::LOCALHOST, tls: Some(config) }
    }

    /// The same from another address of this machine.
    pub(crate) fn from(self, from: Ipv4Addr) -> Self {
        Self { from, ..self }
    }

    pub(crate) async fn connect(&self) -> io::Result<Wire> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.from, 0).into())?;
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Wire::Tcp(stream)) };
        let server = ServerName::try_from(SERVER).unwrap();
        let stream = TlsConnector::from(Arc::clone(tls)).connect(server, stream).await?;
        Ok(Wire::Tls(Box::new(stream)))
    }

    /// Connects and waits for the server's first word: with TLS 1.3 only that tells whether the
    /// certificate was accepted.
    pub(crate) async fn greeted(&self) -> io::Result<Wire> {
        let mut wire = self.connect().await?;
        wire.write_all(PREFACE).await?;
        let mut header = [0; 9];
        wire.read_exact(&mut header).await?;
        Ok(wire)
    }

    /// Why there is no connection.
    pub(crate) async fn refused(&self) -> String {
        match self.greeted().await {
            Ok(_) => panic!("the daemon accepts the connection"),
            Err(error) => error.to_string(),
        }
    }

    pub(crate) fn remote(&self, hsmd: &Hsmd) -> Remote {
        let connections = Arc::<AtomicUsize>::default();
        let channel = self.channel(&connections);
        let rpc = Rpc::over(channel.clone(), channel, Arc::clone(&hsmd.observer));
        Remote { rpc, connections }
    }

    fn channel(&self, connections: &Arc<AtomicUsize>) -> Channel {
        let (dial, connections) = (self.clone(), Arc::clone(connections));
        let connector = tower::service_fn(move |_| {
            let (dial, connections) = (dial.clone(), Arc::clone(&connections));
            async move {
                let wire = dial.connect().await?;
                connections.fetch_add(1, Ordering::SeqCst);
                Ok::<_, io::Error>(TokioIo::new(wire))
            }
        });
        Endpoint::from_static("http://hsmd.test").connect_with_connector_lazy(connector)
    }
}

impl Remote {
    /// How many connections there have been so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A byte stream to the daemon.
pub(crate) enum Wire {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    /// The certificate that the daemon has shown.
    pub(crate) fn server_certificate(&self) -> CertificateDer<'static> {
        let Self::Tls(stream) = self else { panic!("a connection without TLS") };
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// Waits until the daemon closes the connection.
    pub(crate) async fn closed(mut self) {
        let mut rest = Vec::new();
        // An alert or a reset is as good an end as any.
        drop(self.read_to_end(&mut rest).await);
    }

    fn stream(self: Pin<&mut Self>) -> Pin<&mut dyn Stream> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream),
            Self::Tcp(stream) => Pin::new(stream),
            Self::Tls(stream) => Pin::new(stream.as_mut()),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}
