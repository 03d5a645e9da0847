//! Sockets: bound here or handed over by systemd.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener, UnixStream};

/// Why a socket can't be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The system refuses.
    #[error("cannot listen on {at}")]
    Bind {
        /// The socket's path or address.
        at: String,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// Something else is at the socket's path.
    #[error("{0} exists and is not a socket: remove it or change the path")]
    NotASocket(PathBuf),
    /// A living process listens there.
    #[error("a process is listening on {0} already")]
    InUse(PathBuf),
}

/// Binds a TCP address.
///
/// # Errors
/// The system refuses.
pub async fn bind_tcp(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| BindError::Bind { at: address.to_string(), source })
}

/// A Unix socket, and its file if that is ours to remove.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    file: Option<SocketFile>,
}

impl Socket {
    /// Takes what systemd handed over, or binds the path. A socket file that a dead process left is
    /// replaced.
    ///
    /// # Errors
    /// Something else is at the path, a living process listens there, or the system refuses.
    pub async fn bind(
        path: &Path,
        mode: u32,
        inherited: Option<std::os::unix::net::UnixListener>,
    ) -> Result<Self, BindError> {
        let error = |source| BindError::Bind { at: path.display().to_string(), source };
        if let Some(listener) = inherited {
            listener.set_nonblocking(true).map_err(error)?;
            return Ok(Self {
                listener: UnixListener::from_std(listener).map_err(error)?,
                file: None,
            });
        }
        remove_stale(path).await?;
        let listener = UnixListener::bind(path).map_err(error)?;
        let file = SocketFile { path: path.into(), inode: inode(path).map_err(error)? };
        std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(error)?;
        Ok(Self { listener, file: Some(file) })
    }

    /// The listener, and what removes the socket file when it is dropped.
    #[must_use]
    pub fn split(self) -> (UnixListener, Option<SocketFile>) {
        (self.listener, self.file)
    }
}

async fn remove_stale(path: &Path) -> Result<(), BindError> {
    let error = |source| BindError::Bind { at: path.display().to_string(), source };
    match std::fs::symlink_metadata(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(error(cause)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(BindError::NotASocket(path.into()))
        }
        Ok(_) => match UnixStream::connect(path).await {
            Ok(_) => Err(BindError::InUse(path.into())),
            Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(error)
            }
            // It may be alive and have no room.
            Err(cause) => Err(error(cause)),
        },
    }
}

/// Removes the socket file at the end.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Another process may have put its own socket there since.
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket file");
        }
    }
}

/// What tells a file from one that takes its place: device and inode.
fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_file_is_replaced_when_its_process_is_dead_and_removed_when_it_is_ours() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        // A listener that is dropped leaves its file, as a process does that is killed.
        drop(UnixListener::bind(&path).unwrap());
        let first = Socket::bind(&path, 0o600, None).await.unwrap();
        let refused = Socket::bind(&path, 0o600, None).await.unwrap_err();
        assert!(matches!(refused, BindError::InUse(_)), "{refused}");

        let (listener, file) = first.split();
        std::fs::rename(&path, folder.path().join("moved")).unwrap();
        let successor = Socket::bind(&path, 0o600, None).await.unwrap();
        drop(file);
        assert!(path.exists(), "its successor's socket was removed");
        drop((listener, successor));
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_process_that_has_no_room_is_alive() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let socket = tokio::net::UnixSocket::new_stream().unwrap();
        socket.bind(&path).unwrap();
        let _listener = socket.listen(1).unwrap();
        // One more than it was told waits, too.
        let _waiting = [(); 2].map(|()| std::os::unix::net::UnixStream::connect(&path).unwrap());
        Socket::bind(&path, 0o600, None).await.unwrap_err();
        assert!(path.exists());
    }
}
