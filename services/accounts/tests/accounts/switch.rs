//! A switch in front of Postgres that breaks without telling anybody.

use std::{
    io,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Runtime,
    sync::watch,
};

const SOCKET: &str = ".s.PGSQL.5432";

/// A Unix socket that leads to a Postgres. It ends with the runtime.
pub(crate) struct Switch {
    folder: TempDir,
    position: watch::Sender<Position>,
}

#[derive(Clone, Copy, PartialEq)]
enum Position {
    Passes,
    /// What begins a transaction waits.
    HoldsBegin,
    Broken,
}

impl Switch {
    pub(crate) fn before(server: &Path, runtime: &Runtime) -> Self {
        // Short: the path of a Unix socket has 108 bytes at the most.
        let folder = tempfile::Builder::new().prefix("hsmd-sw.").tempdir_in("/tmp");
        let folder = folder.expect("a folder for the socket");
        let path = folder.path().join(SOCKET);
        let listener = runtime.block_on(async { UnixListener::bind(path) }).expect("a socket");
        let (position, seen) = watch::channel(Position::Passes);
        runtime.spawn(accept(listener, server.join(SOCKET), seen));
        Self { folder, position }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Every connection is silent for ever, and so is each new one until the repair.
    pub(crate) fn break_silently(&self) {
        self.position.send_replace(Position::Broken);
    }

    /// Each BEGIN, and what comes after it, reaches the server when the switch is repaired.
    pub(crate) fn hold_begin(&self) {
        self.position.send_replace(Position::HoldsBegin);
    }

    /// New connections lead to the server again, and so do those where a BEGIN waits. Others stay silent.
    pub(crate) fn repair(&self) {
        self.position.send_replace(Position::Passes);
    }
}

async fn accept(listener: UnixListener, server: PathBuf, position: watch::Receiver<Position>) {
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        let (server, mut position) = (server.clone(), position.clone());
        tokio::spawn(async move {
            let server = UnixStream::connect(&server).await.expect("the server");
            let (from_client, mut to_client) = client.into_split();
            let (mut from_server, to_server) = server.into_split();
            let seen = position.clone();
            let is_broken = tokio::select! {
                biased;
                seen = position.wait_for(|position| *position == Position::Broken) => seen.is_ok(),
                _ = pass(from_client, to_server, seen) => false,
                _ = copy(&mut from_server, &mut to_client) => false,
            };
            if is_broken {
                std::future::pending().await
            }
        });
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut position: watch::Receiver<Position>,
) -> io::Result<()> {
    let mut buffer = [0; 8192];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let begins = buffer[..read].windows(5).any(|word| word == b"BEGIN");
        if begins {
            let waits = |position: &Position| *position != Position::HoldsBegin;
            position.wait_for(waits).await.map_err(io::Error::other)?;
        }
        to.write_all(&buffer[..read]).await?;
    }
}
