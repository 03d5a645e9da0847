//! Connections to a name with several addresses: an address whose packets are dropped hides no other. The
//! next one is tried while the first is still silent (RFC 8305), and each for a bounded time.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long one address is tried.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an address may be silent before the next one is tried beside it.
const NEXT_ADDRESS_DELAY: Duration = Duration::from_millis(250);

/// Connects to the first address of a name that answers.
///
/// # Errors
/// The name has no address, or none of them answers.
pub async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    dial_first(lookup_host((host, port)).await?).await
}

async fn dial_first(addresses: impl IntoIterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut addresses = addresses.into_iter();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut attempts = JoinSet::new();
    loop {
        let next = addresses.next();
        let waits = next.is_some();
        if let Some(address) = next {
            attempts.spawn(attempt(address));
        }
        // Until the next address is due, or, where there is none, until all have failed.
        let outcome = tokio::select! {
            outcome = attempts.join_next() => outcome,
            () = sleep(NEXT_ADDRESS_DELAY), if waits => continue,
        };
        match outcome {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(error))) => last = error,
            Some(Err(error)) => last = io::Error::other(error),
            None if waits => {}
            None => return Err(last),
        }
    }
}

async fn attempt(address: SocketAddr) -> io::Result<TcpStream> {
    match timeout(ADDRESS_TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => {
            stream.set_nodelay(true)?;
            Ok(stream)
        }
        Ok(Err(error)) => Err(io::Error::new(error.kind(), format!("{address}: {error}"))),
        Err(_) => {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("{address} does not answer")))
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

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
    async fn addresses_that_drop_packets_hide_no_other() {
        let (silent, _held, _listener) = silent().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let answers = listener.local_addr().unwrap();
        let refuses = {
            let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
            closed.local_addr().unwrap()
        };
        for addresses in [&[silent, silent, silent, answers][..], &[refuses, answers], &[answers]] {
            let stream = dial_first(addresses.to_vec()).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), answers);
        }
        let error = dial_first([silent, refuses]).await.unwrap_err();
        assert!(error.to_string().contains("does not answer"), "{error}");
        assert_eq!(dial_first([]).await.unwrap_err().kind(), io::ErrorKind::NotFound);
        let error = dial_first([refuses]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
