//! The client against a peer that signs with software keys, over real sockets.
#![expect(clippy::expect_used, reason = "a test that can't be set up should fail loudly")]

mod connect;
mod endorser;
mod http;
mod log;
mod peer;
mod tls;

use std::time::Duration;

use hsmd_client::{Client, ConnectOptions, LogOptions, LogSource, VerifiedLog};
use peer::Peer;

/// Long enough for anything that works, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something that must come.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("comes in time")
}

/// Waits until a condition of memory holds, asked again after every millisecond.
async fn until(mut condition: impl FnMut() -> bool) {
    soon(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

fn client(peer: &Peer) -> Client {
    Client::connect(&ConnectOptions::new(peer.endpoint())).expect("a client")
}

fn follow(peer: &Peer, options: LogOptions) -> VerifiedLog {
    let anchor = peer.state.log.borrow().anchor();
    VerifiedLog::follow(LogSource::Grpc(client(peer)), anchor, options).expect("follows")
}
