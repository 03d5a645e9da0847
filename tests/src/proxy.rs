//! A man in the middle before Postgres, who loses what a test wants lost.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What the proxy does to a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Toll {
    /// Everything passes.
    #[default]
    Nothing,
    /// The next COMMIT arrives, its answer does not: the connection ends instead.
    CommitAnswer,
    /// The next COMMIT does not arrive: the connection ends instead.
    Commit,
    /// Nothing passes in either direction and nobody is told, as behind a broken switch.
    Everything,
    /// Connections end, and new ones end at once, as when the server is stopped.
    Connections,
}

/// How CommandComplete names a commit in Postgres's protocol, and how a statement does.
const COMMITTED: &[u8] = b"COMMIT\0";

/// A Unix socket in a folder of its own that leads to a Postgres. Dropping it ends every connection.
#[derive(Debug)]
pub struct Proxy {
    folder: TempDir,
    toll: watch::Sender<Toll>,
    next: watch::Sender<Toll>,
    taken: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy before the server whose socket is in `server`.
    pub fn before(server: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("hsmd-px.").tempdir_in("/tmp");
        let folder = folder.expect("a folder for the proxy");
        let listener = UnixListener::bind(folder.path().join(SOCKET)).expect("the proxy's socket");
        let (toll, seen) = watch::channel(Toll::Nothing);
        let (taken, next) = (Arc::<AtomicU32>::default(), watch::Sender::default());
        let (set, then) = (toll.clone(), next.clone());
        let way = Way { toll: seen, set, then, taken: Arc::clone(&taken) };
        let task = tokio::spawn(accept(listener, server.join(SOCKET), way));
        Self { folder, toll, next, taken, task }
    }

    /// Where clients find its socket.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it takes from now on. What is taken once is over then.
    pub fn take(&self, toll: Toll) {
        self.next.send_replace(Toll::Nothing);
        self.toll.send_replace(toll);
    }

    /// What it takes after what it takes once.
    pub fn then_take(&self, toll: Toll) {
        self.next.send_replace(toll);
    }

    /// How often it has taken a COMMIT or its answer.
    pub fn taken(&self) -> u32 {
        self.taken.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const SOCKET: &str = ".s.PGSQL.5432";

#[derive(Clone)]
struct Way {
    toll: watch::Receiver<Toll>,
    set: watch::Sender<Toll>,
    then: watch::Sender<Toll>,
    taken: Arc<AtomicU32>,
}

async fn accept(listener: UnixListener, server: std::path::PathBuf, way: Way) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        let (server, way) = (server.clone(), way.clone());
        connections.spawn(async move {
            // A server that is down: the client sees its connection end.
            if let Ok(server) = UnixStream::connect(server).await {
                way.carry(client, server).await;
            }
        });
    }
}

impl Way {
    /// Both directions until one ends or is cut.
    async fn carry(self, client: UnixStream, server: UnixStream) {
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            () = self.clone().one_way(from_client, to_server, Toll::Commit) => {}
            () = self.clone().one_way(from_server, to_client, Toll::CommitAnswer) => {}
            () = self.until_cut() => {}
        }
    }

    async fn until_cut(mut self) {
        // An error means that the proxy has gone.
        drop(self.toll.wait_for(|toll| *toll == Toll::Connections).await);
    }

    async fn one_way(
        mut self,
        mut from: tokio::net::unix::OwnedReadHalf,
        mut to: tokio::net::unix::OwnedWriteHalf,
        cut_at: Toll,
    ) {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = from.read(&mut buffer).await.unwrap_or(0);
            let bytes = &buffer[..read];
            if read == 0 {
                return;
            }
            let names_commit = || bytes.windows(COMMITTED.len()).any(|part| part == COMMITTED);
            let toll = *self.toll.borrow();
            if toll == cut_at && names_commit() {
                self.taken.fetch_add(1, Ordering::SeqCst);
                self.set.send_replace(*self.then.borrow());
                return;
            }
            // Held back, not lost: what waits behind a broken switch may arrive late.
            let opened = self.toll.wait_for(|toll| *toll != Toll::Everything).await.is_ok();
            if !opened || to.write_all(bytes).await.is_err() {
                return;
            }
        }
    }
}
