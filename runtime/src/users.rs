//! HTTP on a Unix socket, for some of this machine's users.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::timeout,
};

use crate::{
    LogLimit, ServeOptions, Shutdown, Socket,
    http::{Accepted, Source, after_failed_accept, serve_from},
};

/// How many refused users are answered at once, and for how long; the connections of further ones are closed.
const REFUSED_AT_ONCE: usize = 8;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves these users until the shutdown, whatever the modes of the socket and its folder are; all others are
/// told that they are not served. The end is that of [`serve`](crate::serve).
pub async fn serve_users(
    socket: Socket,
    uids: Vec<u32>,
    router: Router,
    options: ServeOptions,
    shutdown: Shutdown,
) {
    let (listener, file) = socket.split();
    let refusals = Arc::new(Semaphore::new(REFUSED_AT_ONCE));
    let users = Users { listener, uids, refusals, logged: LogLimit::default() };
    serve_from(users, router, options, shutdown).await;
    drop(file);
}

/// Connections of some users.
struct Users {
    listener: UnixListener,
    uids: Vec<u32>,
    /// For those who are answered that they are not served.
    refusals: Arc<Semaphore>,
    logged: LogLimit,
}

impl Source for Users {
    type Stream = UnixStream;
    type Counted = ();

    async fn accept(&self) -> Accepted<UnixStream, ()> {
        loop {
            let accepted = self.listener.accept().await;
            match accepted.and_then(|(stream, _)| Ok((stream.peer_cred()?.uid(), stream))) {
                Ok((uid, stream)) if self.uids.contains(&uid) => {
                    return Accepted { stream, peer: None, counted: () };
                }
                Ok((uid, stream)) => self.refuse(uid, stream),
                Err(error) => after_failed_accept(&error).await,
            }
        }
    }
}

impl Users {
    fn refuse(&self, uid: u32, stream: UnixStream) {
        let Ok(place) = Arc::clone(&self.refusals).try_acquire_owned() else { return };
        let now = Instant::now();
        if let Some(count) = self.logged.due(now) {
            tracing::warn!(count, "more connections of users who are not served here were refused");
        }
        if self.logged.count(now) {
            tracing::warn!(uid, "refused: this user is not one of those served here");
        }
        tokio::spawn(async move {
            // A peer that does not take the answer has left.
            let _answered = timeout(REFUSAL_TIMEOUT, answer(uid, stream)).await;
            drop(place);
        });
    }
}

/// Says so and reads what was sent: a socket that is closed before takes the answer with it.
async fn answer(uid: u32, mut stream: UnixStream) -> io::Result<()> {
    let body = format!("{{\"error\":\"the user with uid {uid} is not served here\"}}");
    let head = "HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    let mut sent = [0; 4096];
    while stream.read(&mut sent).await? > 0 {}
    Ok(())
}
