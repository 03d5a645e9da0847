//! `hsmd-test-relay LISTEN TARGET`: carries each connection to LISTEN to TARGET, as the user and in the network
//! in which it was started. Each is the path of a Unix socket or an address like 192.0.2.1:5432. It says a line
//! when it listens, and ends with its standard input.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a tool of the tests")]

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    async fn bind(at: &str) -> io::Result<Self> {
        match at.starts_with('/') {
            true => UnixListener::bind(at).map(Self::Unix),
            false => TcpListener::bind(at).await.map(Self::Tcp),
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|it| Box::new(it.0) as _),
            Self::Unix(listener) => listener.accept().await.map(|it| Box::new(it.0) as _),
        }
    }
}

async fn connect(to: &str) -> io::Result<Box<dyn Stream>> {
    match to.starts_with('/') {
        true => UnixStream::connect(to).await.map(|stream| Box::new(stream) as _),
        false => TcpStream::connect(to).await.map(|stream| Box::new(stream) as _),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [listen, target] = <[String; 2]>::try_from(arguments).expect("LISTEN and TARGET");
    let listener = Listener::bind(&listen).await.expect("an address to listen on");
    println!("listening");
    let serve = async {
        loop {
            let mut near = listener.accept().await.expect("a connection");
            let target = target.clone();
            tokio::spawn(async move {
                // What can't be carried is closed.
                let Ok(mut far) = connect(&target).await else { return };
                drop(copy_bidirectional(&mut near, &mut far).await);
            });
        }
    };
    let ended = || io::copy(&mut io::stdin(), &mut io::sink());
    tokio::select! {
        () = serve => {}
        ended = tokio::task::spawn_blocking(ended) => drop(ended),
    }
}
