//! Accepting: one task a listener, which reads the peer's credentials and counts the connection. Each TLS
//! handshake is a task with its own timeout, so that none holds up the next.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

use super::connection::{Connection, Stream};
use super::limit::{Closing, Limit};
use super::origin::Origin;
use super::tls::Tls;
use crate::authz::{Peer, certificate_peer, unix_peer};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait when the system has no descriptor left.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Where accepted connections go.
pub type Accepted = mpsc::Sender<io::Result<Connection>>;

/// Accepts on a Unix socket until `stop` becomes true.
pub async fn unix(
    listener: UnixListener,
    limit: Limit,
    accepted: Accepted,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let stream = tokio::select! {
            stream = listener.accept() => stream.map(|(stream, _)| stream),
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let admitted = stream.and_then(|stream| {
            let peer = unix_peer(&stream)?;
            let origin = Origin::Uid(peer.uid);
            let peer = Peer::Unix(peer);
            Ok(limit.admit(&peer, origin).map(|guard| (stream, peer, guard)))
        });
        match admitted {
            Ok(Some((stream, peer, guard))) => {
                let connection = Connection::new(Stream::Unix(stream), peer, guard, None);
                if accepted.send(Ok(connection)).await.is_err() {
                    return;
                }
            }
            Ok(None) => tracing::debug!("connection limit reached: connection closed"),
            Err(error) => wait_after(&error).await,
        }
    }
}

/// Accepts plaintext connections on loopback until `stop` becomes true.
pub async fn plaintext(
    listener: TcpListener,
    limit: Limit,
    accepted: Accepted,
    mut stop: watch::Receiver<bool>,
) {
    while let Some((stream, origin)) = tcp(&listener, &mut stop).await {
        let Some(guard) = limit.admit(&Peer::Plaintext, origin) else {
            tracing::debug!(?origin, "connection limit reached: connection closed");
            continue;
        };
        let connection = Connection::new(Stream::Tcp(stream), Peer::Plaintext, guard, None);
        if accepted.send(Ok(connection)).await.is_err() {
            return;
        }
    }
}

/// Accepts connections with mutual TLS until `stop` becomes true.
pub async fn tls(
    listener: TcpListener,
    tls: Arc<Tls>,
    limit: Limit,
    accepted: Accepted,
    mut stop: watch::Receiver<bool>,
) {
    while let Some((stream, origin)) = tcp(&listener, &mut stop).await {
        let Some((place, evicted)) = limit.begin_handshake(origin).await else {
            tracing::debug!(?origin, "too many unfinished TLS handshakes: connection closed");
            continue;
        };
        let (tls, limit, accepted) = (Arc::clone(&tls), limit.clone(), accepted.clone());
        tokio::spawn(async move {
            let handshake = tokio::select! {
                handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(stream, &tls)) => handshake,
                () = evicted => {
                    tracing::debug!(?origin, "too many unfinished TLS handshakes: connection closed");
                    return;
                }
            };
            drop(place);
            let (stream, peer, revoked) = match handshake {
                Ok(Ok(finished)) => finished,
                Ok(Err(error)) => return tls.handshake_failed(origin, &error.to_string()),
                Err(_) => return tls.handshake_failed(origin, "timed out"),
            };
            match limit.admit(&peer, origin) {
                // An error means that the server is gone.
                Some(guard) => {
                    let connection = Connection::new(stream, peer, guard, Some(revoked));
                    drop(accepted.send(Ok(connection)).await);
                }
                None => tracing::debug!(?origin, "connection limit reached: connection closed"),
            }
        });
    }
}

async fn handshake(stream: TcpStream, tls: &Tls) -> io::Result<(Stream, Peer, Closing)> {
    // Subscribed before the configuration is read: a change in between closes the connection.
    let revoked = tls.authorities_changed();
    let stream = TlsAcceptor::from(tls.current()).accept(stream).await?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certificate = certificate
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no client certificate"))?;
    let peer = certificate_peer(certificate)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok((Stream::Tls(Box::new(stream)), Peer::Certificate(peer), Box::pin(revoked)))
}

/// The next TCP connection; none when it is time to stop.
async fn tcp(
    listener: &TcpListener,
    stop: &mut watch::Receiver<bool>,
) -> Option<(TcpStream, Origin)> {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return None,
        };
        let accepted = accepted.and_then(|(stream, from)| {
            stream.set_nodelay(true)?;
            Ok((stream, Origin::of(from.ip())))
        });
        match accepted {
            Ok(accepted) => return Some(accepted),
            Err(error) => wait_after(&error).await,
        }
    }
}

async fn wait_after(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
}
