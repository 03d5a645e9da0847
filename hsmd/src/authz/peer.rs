//! Who is at the other end of a Unix socket: user, group and supplementary groups, as the kernel
//! recorded them when the peer connected.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::getsockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tonic::transport::server::Connected;

/// The credentials of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id and all supplementary groups.
    pub gids: Vec<u32>,
    /// Process id, for the record.
    pub pid: Option<i32>,
}

/// An accepted connection that knows its peer.
#[derive(Debug)]
pub struct PeerStream {
    stream: UnixStream,
    peer: Arc<PeerCredentials>,
}

impl PeerStream {
    /// Asks the kernel who connected.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let mut gids = vec![credentials.gid()];
        gids.extend(groups(&stream)?);
        let peer = PeerCredentials { uid: credentials.uid(), gids, pid: credentials.pid() };
        Ok(Self { stream, peer: Arc::new(peer) })
    }
}

impl Connected for PeerStream {
    type ConnectInfo = Arc<PeerCredentials>;

    fn connect_info(&self) -> Self::ConnectInfo {
        Arc::clone(&self.peer)
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Defines a reader of SO_PEERGROUPS for each possible count of groups, and one that tries them in
/// turn. The kernel answers ERANGE to a buffer that is too small, so the first that fits fits exactly;
/// nix reads socket options of a fixed size only, and we have no `unsafe` of our own.
macro_rules! peer_groups {
    ($($name:ident $count:literal),*) => {
        $(
            #[derive(Clone, Copy)]
            struct $name;
            nix::getsockopt_impl!(
                $name,
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                [u32; $count],
                nix::sys::socket::sockopt::GetStruct<[u32; $count]>
            );
        )*

        /// The supplementary groups of the peer, up to 32. Of a peer with more, none is known: it can
        /// still be named by its uid or its primary group.
        fn groups(stream: &UnixStream) -> io::Result<Vec<u32>> {
            $(
                match getsockopt(stream, $name) {
                    Ok(groups) => return Ok(groups.to_vec()),
                    Err(Errno::ERANGE) => {}
                    // A peer without recorded groups.
                    Err(Errno::ENODATA) => return Ok(Vec::new()),
                    Err(error) => return Err(error.into()),
                }
            )*
            tracing::warn!("a peer has more than 32 supplementary groups: they are not considered");
            Ok(Vec::new())
        }
    };
}

peer_groups!(
    Groups0 0, Groups1 1, Groups2 2, Groups3 3, Groups4 4, Groups5 5, Groups6 6, Groups7 7,
    Groups8 8, Groups9 9, Groups10 10, Groups11 11, Groups12 12, Groups13 13, Groups14 14,
    Groups15 15, Groups16 16, Groups17 17, Groups18 18, Groups19 19, Groups20 20, Groups21 21,
    Groups22 22, Groups23 23, Groups24 24, Groups25 25, Groups26 26, Groups27 27, Groups28 28,
    Groups29 29, Groups30 30, Groups31 31, Groups32 32
);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_is_known_with_all_its_groups() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = PeerStream::new(ours).unwrap().connect_info();
        assert_eq!(peer.uid, nix::unistd::getuid().as_raw());
        assert_eq!(peer.gids[0], nix::unistd::getgid().as_raw());
        let groups = nix::unistd::getgroups().unwrap();
        if groups.len() <= 32 {
            let mut expected: Vec<u32> = groups.into_iter().map(|gid| gid.as_raw()).collect();
            let mut found = peer.gids[1..].to_vec();
            expected.sort_unstable();
            found.sort_unstable();
            assert_eq!(found, expected);
        }
    }
}
