//! A switch in front of Postgres that breaks without telling anybody.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{UnixListener, UnixStream},
    runtime::Runtime,
    sync::watch,
};

const SOCKET: &str = ".s.PGSQL.5432";

/// A Unix socket that leads to a Postgres. It ends with the runtime.
pub(crate) struct Switch {
    folder: TempDir,
    broken: watch::Sender<bool>,
}

impl Switch {
    pub(crate) fn before(server: &Path, runtime: &Runtime) -> Self {
        // Short: the path of a Unix socket has 108 bytes at the most.
        let folder = tempfile::Builder::new().prefix("hsmd-sw.").tempdir_in("/tmp");
        let folder = folder.expect("a folder for the socket");
        let path = folder.path().join(SOCKET);
        let listener = runtime.block_on(async { UnixListener::bind(path) }).expect("a socket");
        let (broken, seen) = watch::channel(false);
        runtime.spawn(accept(listener, server.join(SOCKET), seen));
        Self { folder, broken }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Every connection is silent for ever, and so is each new one until the repair.
    pub(crate) fn break_silently(&self) {
        self.broken.send_replace(true);
    }

    /// New connections lead to the server again. The old ones stay silent.
    pub(crate) fn repair(&self) {
        self.broken.send_replace(false);
    }
}

async fn accept(listener: UnixListener, server: PathBuf, broken: watch::Receiver<bool>) {
    loop {
        let (mut client, _) = listener.accept().await.expect("a connection");
        let (server, mut broken) = (server.clone(), broken.clone());
        tokio::spawn(async move {
            let mut server = UnixStream::connect(&server).await.expect("the server");
            let is_broken = tokio::select! {
                biased;
                seen = broken.wait_for(|broken| *broken) => seen.is_ok(),
                _ = copy_bidirectional(&mut client, &mut server) => false,
            };
            if is_broken {
                std::future::pending().await
            }
        });
    }
}
