//! Connections to a name with several addresses, each tried for a bounded time: an address whose packets are
//! dropped hides no other. For libraries that know one address a name, like sqlx, a relay within the process
//! carries the connection: they keep the name, by which TLS is verified.

use std::io;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener as StdUnixListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpStream, UnixListener, lookup_host};
use tokio::time::timeout;

/// How long one address may take, where there are others.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the library may take to come for its connection.
const RELAY_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to the first address of a name that answers.
///
/// # Errors
/// The name has no address, or the last of them does not answer.
pub async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    dial_first(&lookup_host((host, port)).await?.collect::<Vec<_>>()).await
}

async fn dial_first(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match timeout(ADDRESS_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => {
                last = io::Error::new(io::ErrorKind::TimedOut, format!("{address} does not answer"))
            }
        }
        tracing::debug!(%address, error = %last, "cannot connect");
    }
    Err(last)
}

/// Offers a connection on a Unix socket in the abstract namespace, to this process and only once: the folder
/// in which a Postgres library finds it as `.s.PGSQL.<port>`.
///
/// # Errors
/// There is no descriptor left.
pub fn offer(mut stream: TcpStream, port: u16) -> io::Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let folder =
        format!("hsmd-relay-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let name = format!("{folder}/.s.PGSQL.{port}");
    let listener = StdUnixListener::bind_addr(&UnixAddr::from_abstract_name(name)?)?;
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    tokio::spawn(async move {
        let come = async {
            loop {
                let (local, _) = listener.accept().await?;
                // Any process of the machine can connect to such a socket.
                if local.peer_cred()?.pid() == i32::try_from(std::process::id()).ok() {
                    return io::Result::Ok(local);
                }
            }
        };
        let Ok(Ok(mut local)) = timeout(RELAY_TIMEOUT, come).await else { return };
        drop(listener);
        // Either end closes; the library reports what that means.
        drop(tokio::io::copy_bidirectional(&mut local, &mut stream).await);
    });
    Ok(PathBuf::from(format!("\0{folder}")))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket, UnixStream};

    use super::*;

    /// An address whose connections are never answered: its queue of one is full.
    async fn silent() -> (SocketAddr, Vec<TcpStream>, TcpListener) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut held = Vec::new();
        while let Ok(Ok(stream)) =
            timeout(Duration::from_millis(200), TcpStream::connect(address)).await
        {
            held.push(stream);
        }
        (address, held, listener)
    }

    #[tokio::test]
    async fn an_address_that_drops_packets_hides_no_other() {
        let (silent, _held, _listener) = silent().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let answers = listener.local_addr().unwrap();
        let stream = dial_first(&[silent, answers]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), answers);
        let error = dial_first(&[silent]).await.unwrap_err();
        assert!(error.to_string().contains("does not answer"), "{error}");
        assert!(dial_first(&[]).await.is_err());
    }

    #[tokio::test]
    async fn a_relay_carries_a_connection_both_ways() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let folder = offer(stream, 5432).unwrap();
        let path = format!("{}/.s.PGSQL.5432", folder.display());
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
}
