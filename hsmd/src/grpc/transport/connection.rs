//! An accepted connection: a byte stream that knows its peer, counts against a limit, and closes when
//! it must.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::limit::{Closing, ConnectionGuard};
use crate::authz::Peer;
use crate::grpc::budget::MemoryBudget;

/// The length of the HTTP/2 preface, which a client sends first.
const PREFACE: usize = 24;

/// How long a client may take to send the preface.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);

/// An accepted connection.
pub struct Connection {
    stream: Stream,
    info: ConnectionInfo,
    /// Done when the connection must close: the preface did not come, the client authorities have
    /// changed, or the connection has reached its age limit.
    preface_late: Option<Closing>,
    revoked: Option<Closing>,
    evicted: Option<Closing>,
    refused: Option<Closing>,
    expired: Closing,
    /// Why it is closed.
    closed: Option<&'static str>,
    received: usize,
    _guard: ConnectionGuard,
}

/// What every request on a connection brings along.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Who is at the other end.
    pub peer: Arc<Peer>,
    /// Whether that was a caller of this listener when it connected.
    pub known: bool,
    /// When the connection is as old as it may be: calls that have begun go on for a while.
    pub old_at: Instant,
    /// What its calls reserve their bytes from.
    pub budget: MemoryBudget,
    /// Counts calls of unknown peers for which there was no memory.
    pub refusals: Arc<Refusals>,
}

/// How many calls of an unknown peer's connection may be refused for want of memory: each costs the daemon some
/// work, so the connection ends then.
const REFUSALS: usize = 8;

/// The refusals of one connection.
#[derive(Debug, Default)]
pub struct Refusals {
    count: AtomicUsize,
    too_many: Notify,
}

impl Refusals {
    /// Counts one.
    pub fn count(&self) {
        if self.count.fetch_add(1, Ordering::Relaxed) + 1 == REFUSALS {
            self.too_many.notify_one();
        }
    }
}

/// The transports.
pub enum Stream {
    /// A Unix socket.
    Unix(UnixStream),
    /// TCP on loopback.
    Tcp(TcpStream),
    /// TCP with mutual TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    pub fn new(
        stream: Stream,
        peer: Peer,
        mut guard: ConnectionGuard,
        revoked: Option<Closing>,
    ) -> Self {
        let refusals = Arc::<Refusals>::default();
        let refused = Arc::clone(&refusals);
        let refused: Closing = Box::pin(async move { refused.too_many.notified().await });
        Self {
            stream,
            info: ConnectionInfo {
                peer: Arc::new(peer),
                known: guard.known,
                old_at: Instant::now() + guard.age,
                budget: guard.budget.clone(),
                refusals,
            },
            preface_late: Some(Box::pin(tokio::time::sleep(PREFACE_TIMEOUT))),
            revoked,
            evicted: guard.evicted.take(),
            refused: (!guard.known).then_some(refused),
            expired: Box::pin(tokio::time::sleep(guard.lifetime)),
            closed: None,
            received: 0,
            _guard: guard,
        }
    }

    /// Whether the connection may go on; registers to be woken when it may not. Asked before each read
    /// and each write: a peer that reads nothing keeps the server from reading, too.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.received >= PREFACE {
            self.preface_late = None;
        } else if let Some(late) = &mut self.preface_late
            && late.as_mut().poll(cx).is_ready()
        {
            self.preface_late = None;
            self.closed = Some("no HTTP/2 preface in time");
        }
        if let Some(revoked) = &mut self.revoked
            && revoked.as_mut().poll(cx).is_ready()
        {
            self.revoked = None;
            self.closed = Some("the client authorities have changed");
        }
        if let Some(evicted) = &mut self.evicted
            && evicted.as_mut().poll(cx).is_ready()
        {
            self.evicted = None;
            self.closed = Some("unknown peers have too many connections");
        }
        if let Some(refused) = &mut self.refused
            && refused.as_mut().poll(cx).is_ready()
        {
            self.refused = None;
            self.closed = Some("too many calls of an unknown peer were refused");
        }
        if self.closed.is_none() && self.expired.as_mut().poll(cx).is_ready() {
            self.closed = Some("the connection has reached its age limit");
        }
        match self.closed {
            None => Ok(()),
            Some(why) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, why)),
        }
    }

    fn stream(self: Pin<&mut Self>) -> Pin<&mut dyn Transport> {
        match &mut self.get_mut().stream {
            Stream::Unix(stream) => Pin::new(stream),
            Stream::Tcp(stream) => Pin::new(stream),
            Stream::Tls(stream) => Pin::new(stream.as_mut()),
        }
    }
}

trait Transport: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Transport for T {}

impl Connected for Connection {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        self.info.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let before = buf.filled().len();
        let polled = self.as_mut().stream().poll_read(cx, buf);
        self.received = self.received.saturating_add(buf.filled().len() - before);
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        self.stream().poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        self.stream().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Unix(stream) => stream.is_write_vectored(),
            Stream::Tcp(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
