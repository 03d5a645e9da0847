//! What a request asks the database, counted by a proxy in front of it.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Runtime,
};

use crate::{
    client::Browser,
    stack::{Settings, Stack},
};

/// By which we try a connection that is given back. sqlx does so by nothing.
const ROLLBACK: &str = "ROLLBACK";

const SOCKET: &str = ".s.PGSQL.5432";

/// How often each request is made.
const REQUESTS: usize = 200;

/// What is asked beside the requests, and begins so: heartbeats and the list of keys, probes of the database,
/// what expired, and each of these once to prepare it.
const BACKGROUND: [&str; 7] = [
    "prepare",
    "DELETE FROM ",
    "INSERT INTO keys ",
    "SELECT 1",
    "SELECT kid, ",
    "UPDATE keys ",
    "WITH RECURSIVE ",
];

/// A Unix socket that leads to a Postgres. It ends with the runtime.
struct Counting {
    folder: TempDir,
    rounds: Rounds,
}

/// Round trips by the statement that each executed.
type Rounds = Arc<Mutex<BTreeMap<String, usize>>>;

impl Counting {
    fn before(server: &Path, runtime: &Runtime) -> Self {
        // Short: the path of a Unix socket has 108 bytes at the most.
        let folder = tempfile::Builder::new().prefix("hsmd-rt.").tempdir_in("/tmp");
        let folder = folder.expect("a folder for the socket");
        let path = folder.path().join(SOCKET);
        let listener = runtime.block_on(async { UnixListener::bind(path) }).expect("a socket");
        let rounds = Rounds::default();
        runtime.spawn(accept(listener, server.join(SOCKET), Arc::clone(&rounds)));
        Self { folder, rounds }
    }

    /// Those since the last time.
    fn take(&self) -> BTreeMap<String, usize> {
        std::mem::take(&mut *self.rounds.lock().expect("no panic"))
    }
}

async fn accept(listener: UnixListener, server: PathBuf, rounds: Rounds) {
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        let server = UnixStream::connect(&server).await.expect("the server");
        let rounds = Arc::clone(&rounds);
        tokio::spawn(async move {
            let (from_client, mut to_client) = client.into_split();
            let (mut from_server, to_server) = server.into_split();
            tokio::select! {
                _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
                _ = count(from_client, to_server, rounds) => {}
            }
        });
    }
}

/// Passes messages on, and counts those that end a question: Sync, and a simple Query.
async fn count(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    rounds: Rounds,
) -> std::io::Result<()> {
    const SSL_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();
    // The first messages have no type.
    while pass(&mut from, &mut to).await?.starts_with(&SSL_REQUEST) {}
    let mut statements = HashMap::new();
    let mut executed = String::new();
    loop {
        let kind = from.read_u8().await?;
        to.write_u8(kind).await?;
        let message = pass(&mut from, &mut to).await?;
        let mut texts = message.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let mut text = || texts.next().unwrap_or_default().into_owned();
        match kind {
            b'P' => {
                statements.insert(text(), text());
                executed = "prepare".to_owned();
            }
            b'B' => {
                let (_portal, statement) = (text(), text());
                executed = statements.get(&statement).cloned().unwrap_or_default();
            }
            b'Q' => *rounds.lock().expect("no panic").entry(text()).or_default() += 1,
            b'S' => {
                let executed = std::mem::take(&mut executed);
                *rounds.lock().expect("no panic").entry(executed).or_default() += 1;
            }
            _ => {}
        }
    }
}

/// Passes one message on, without its type, and returns its body.
async fn pass(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) -> std::io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let mut body = vec![0; length as usize - 4];
    from.read_exact(&mut body).await?;
    to.write_u32(length).await?;
    to.write_all(&body).await?;
    Ok(body)
}

/// Reading a session is one round trip, and a token takes no other: not for the session's extension, which
/// is not due, nor for its key, nor to try the connection.
#[test]
fn a_session_is_one_round_trip_and_a_token_no_more() {
    let stack = Stack::start();
    let counting = Counting::before(stack.database.socket_folder(), &stack.runtime);
    let url = stack.database.owner_url();
    let (before, _) = url.split_once("?host=").expect("a URL with a folder");
    stack.secret("database.url", &format!("{before}?host={}", counting.folder.path().display()));
    // On one connection, a statement is prepared once.
    let database = "max_connections = 1\n";
    let accounts = stack.accounts_with(&Settings { database, ..Settings::default() }).ready();
    let ann = Browser::sign_up(&accounts.http, "ann@example.com");
    for path in ["/get-session", "/session", "/token"] {
        assert_eq!(ann.get(path).status, 200, "{path}");
        counting.take();
        for _ in 0..REQUESTS {
            let answer = ann.get(path);
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            assert!(path == "/token" || !answer.header("set-auth-jwt").is_empty(), "{answer:?}");
        }
        let rounds = counting.take();
        let is_session = |sql: &str| sql.starts_with("SELECT s.id, ");
        let sessions: usize = rounds.iter().filter(|it| is_session(it.0)).map(|it| it.1).sum();
        assert_eq!(sessions, REQUESTS, "{path}: {rounds:?}");
        // A connection is tried when it is given back, which is after the answer: by us for a bounded time, and
        // by sqlx. Those of the request before these may be late.
        let tried = ["", ROLLBACK].iter().filter_map(|it| rounds.get(*it)).sum::<usize>();
        let given_back = rounds.values().sum::<usize>() - tried + 1;
        assert!(tried <= 2 * given_back, "{path}: {rounds:?}");
        let others = rounds
            .iter()
            .filter(|it| !is_session(it.0) && !["", ROLLBACK].contains(&it.0.as_str()));
        for (sql, count) in others {
            let known = BACKGROUND.iter().any(|it| sql.starts_with(it));
            assert!(known && *count < REQUESTS, "{path}: {rounds:?}");
        }
    }
}
