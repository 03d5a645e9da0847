//! A transaction pooler before Postgres, as some hosters have it: each transaction may meet another
//! server process.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};

/// The length of the message that asks for TLS: nothing else is that short.
const REQUEST_FOR_TLS: usize = 8;

const SOCKET: &str = ".s.PGSQL.5432";

/// A Unix socket in a folder of its own. Each connection to it stands for two to the server, which take
/// turns; prepared statements are made on both, as newer poolers do. Dropping it ends all of them.
#[derive(Debug)]
pub struct Pooler {
    folder: TempDir,
    task: JoinHandle<()>,
}

impl Pooler {
    /// A pooler before the server whose socket is in `server`.
    pub fn before(server: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("hsmd-pl.").tempdir_in("/tmp");
        let folder = folder.expect("a folder for the pooler");
        let listener = UnixListener::bind(folder.path().join(SOCKET)).expect("the pooler's socket");
        let task = tokio::spawn(accept(listener, server.join(SOCKET)));
        Self { folder, task }
    }

    /// Where clients find its socket.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: UnixListener, server: PathBuf) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        let server = server.clone();
        // Any end of it is one that a client must bear.
        connections.spawn(async move { pool(client, &server).await });
    }
}

async fn pool(mut client: UnixStream, server: &Path) -> std::io::Result<()> {
    let mut servers = [UnixStream::connect(server).await?, UnixStream::connect(server).await?];
    let mut batch = hello(&mut client).await?;
    if batch.len() == REQUEST_FOR_TLS {
        client.write_all(b"N").await?;
        batch = hello(&mut client).await?;
    }
    let (mut both, mut turn) = (true, 0);
    loop {
        let first = exchange(&mut servers[turn], &batch).await?;
        if both {
            exchange(&mut servers[1 - turn], &batch).await?;
        }
        client.write_all(&first).await?;
        turn = 1 - turn;
        (batch, both) = (Vec::new(), false);
        loop {
            let (kind, message) = message(&mut client).await?;
            both |= kind == b'P';
            batch.extend(message);
            if matches!(kind, b'S' | b'Q') {
                break;
            }
        }
    }
}

/// The first message, which has no type.
async fn hello(client: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    let length = client.read_u32().await?;
    let mut hello = length.to_be_bytes().to_vec();
    hello.resize(length as usize, 0);
    client.read_exact(&mut hello[4..]).await?;
    Ok(hello)
}

/// Sends messages, and returns the answers up to ReadyForQuery.
async fn exchange(server: &mut UnixStream, batch: &[u8]) -> std::io::Result<Vec<u8>> {
    server.write_all(batch).await?;
    let mut answers = Vec::new();
    loop {
        let (kind, message) = message(server).await?;
        answers.extend(message);
        if kind == b'Z' {
            return Ok(answers);
        }
    }
}

/// A message of Postgres's protocol, and its type.
async fn message(from: &mut UnixStream) -> std::io::Result<(u8, Vec<u8>)> {
    let kind = from.read_u8().await?;
    let length = from.read_u32().await?;
    let mut message = vec![kind];
    message.extend(length.to_be_bytes());
    message.resize(1 + length as usize, 0);
    from.read_exact(&mut message[5..]).await?;
    Ok((kind, message))
}
