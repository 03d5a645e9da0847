//! The client against a fake of hsmd that signs with software keys, over real sockets.
#![expect(clippy::expect_used, reason = "a test that can't be set up should fail loudly")]

mod connect;
mod endorser;
mod http;
mod log;
mod tls;

use hsmd_client::{Client, ConnectOptions, LogOptions, LogSource, VerifiedLog};
use hsmd_tests::peer::Peer;

fn client(peer: &Peer) -> Client {
    Client::connect(&ConnectOptions::new(peer.endpoint())).expect("a client")
}

fn follow(peer: &Peer, options: LogOptions) -> VerifiedLog {
    let anchor = peer.state.log.borrow().anchor();
    VerifiedLog::follow(LogSource::Grpc(client(peer)), anchor, options).expect("follows")
}
