//! Relays within the process, for libraries that know one address a name, like sqlx: what they connect to is
//! a Unix socket of ours, behind which a connection to any address of the name is ([`dial`]). They keep the
//! name, by which TLS is verified.

use std::io;
use std::net::IpAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener as StdUnixListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hsmd_support::dial;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;

/// How long the library may take to come for its connection.
const OFFER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait when the system has no descriptor left.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// A Unix socket in the abstract namespace, for this process only.
struct OwnSocket {
    /// The folder in which a Postgres library finds it as `.s.PGSQL.<port>`.
    folder: String,
    listener: UnixListener,
}

impl OwnSocket {
    fn bind(port: u16) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let folder =
            format!("hsmd-relay-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let name = format!("{folder}/.s.PGSQL.{port}");
        let listener = StdUnixListener::bind_addr(&UnixAddr::from_abstract_name(name)?)?;
        listener.set_nonblocking(true)?;
        Ok(Self { folder, listener: UnixListener::from_std(listener)? })
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("\0{}", self.folder))
    }

    /// The next connection of this process: any process of the machine can connect to such a socket.
    async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let (local, _) = self.listener.accept().await?;
            if local.peer_cred()?.pid() == i32::try_from(std::process::id()).ok() {
                return Ok(local);
            }
        }
    }
}

/// Offers a connection that was made, once: the folder in which a Postgres library finds it.
///
/// # Errors
/// There is no descriptor left.
pub fn offer(stream: TcpStream, port: u16) -> io::Result<PathBuf> {
    let socket = OwnSocket::bind(port)?;
    let path = socket.path();
    tokio::spawn(async move {
        if let Ok(Ok(local)) = timeout(OFFER_TIMEOUT, socket.accept()).await {
            drop(socket);
            carry(local, stream).await;
        }
    });
    Ok(path)
}

/// Where a pool of connections finds the host, whichever of its addresses answers: the folder for a Postgres
/// library. None for a host that is an address or a folder itself. Must be called within a tokio runtime, with
/// which it ends.
///
/// # Errors
/// There is no descriptor left.
pub fn relay(host: &str, port: u16) -> io::Result<Option<PathBuf>> {
    if host.starts_with('/') || host.parse::<IpAddr>().is_ok() {
        return Ok(None);
    }
    let socket = OwnSocket::bind(port)?;
    let path = socket.path();
    let host = host.to_owned();
    tokio::spawn(async move {
        loop {
            match socket.accept().await {
                Ok(local) => drop(tokio::spawn(reach(local, host.clone(), port))),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
    });
    Ok(Some(path))
}

/// Carries a local connection to the host; closes it when no address answers.
async fn reach(local: UnixStream, host: String, port: u16) {
    match dial(&host, port).await {
        Ok(remote) => carry(local, remote).await,
        Err(error) => tracing::warn!(host, port, %error, "cannot connect"),
    }
}

async fn carry(mut local: UnixStream, mut remote: TcpStream) {
    // Either end closes; the library reports what that means.
    drop(tokio::io::copy_bidirectional(&mut local, &mut remote).await);
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Speaks both ways and closes; the other end sees it.
    async fn speaks(folder: &std::path::Path, port: u16, listener: &TcpListener) {
        let path = format!("{}/.s.PGSQL.{port}", folder.display());
        let mut local = UnixStream::connect(&path).await.unwrap();
        let (mut remote, _) = listener.accept().await.unwrap();
        let mut seen = [0; 2];
        local.write_all(b"to").await.unwrap();
        remote.read_exact(&mut seen).await.unwrap();
        remote.write_all(&seen).await.unwrap();
        local.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"to");
        drop(local);
        assert_eq!(remote.read(&mut seen).await.unwrap(), 0, "closed");
    }

    #[tokio::test]
    async fn a_connection_is_offered_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let folder = offer(stream, 5432).unwrap();
        speaks(&folder, 5432, &listener).await;
        let path = format!("{}/.s.PGSQL.5432", folder.display());
        assert!(UnixStream::connect(&path).await.is_err());
    }

    #[tokio::test]
    async fn a_relay_carries_every_connection_and_closes_what_it_cannot_carry() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for address in ["127.0.0.1", "::1", "/run/postgresql"] {
            assert_eq!(relay(address, port).unwrap(), None);
        }
        let folder = relay("localhost", port).unwrap().unwrap();
        for _ in 0..2 {
            speaks(&folder, port, &listener).await;
        }
        drop(listener);
        let path = format!("{}/.s.PGSQL.{port}", folder.display());
        let mut local = UnixStream::connect(&path).await.unwrap();
        assert_eq!(local.read(&mut [0]).await.unwrap(), 0, "closed");
    }
}
