//! File descriptors: those of the token, the journal, the database and admins are kept back from connections.

use hsmd_tests::{Hsmd, until};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::operation::DOCUMENT;
use crate::operation::remote::PREFACE;

/// More than the daemon may have descriptors.
const CONNECTIONS: usize = 1100;

fn make_room() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(most >= 2 * CONNECTIONS as u64, "more descriptors are needed: raise `ulimit -Hn`");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_take_no_descriptor_that_the_token_or_an_admin_needs() {
    make_room();
    let hsmd = Hsmd::initialised().await.after(&["prlimit", "--nofile=1024:1024"]);
    hsmd.run(&["check"]).await.refused("RLIMIT_NOFILE is 1024: 760 connections of each listener");
    let hsmd = hsmd.set("limits.connections_per_caller", 4096);
    let mut daemon = hsmd.serve().await;
    assert!(daemon.log_text().contains("fewer connections are accepted"), "{}", daemon.log_text());
    let path = hsmd.path("service.sock");
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        // What is closed at once may say so while it is written to.
        drop(stream.write_all(PREFACE).await);
        held.push(stream);
    }
    until("the listener is full", async || daemon.descriptors() > 760).await;
    // The module opens its files anew, the journal and the database are written, an admin connects.
    let unplugged = hsmd.token.unplug();
    until("the token is gone", async || (!daemon.is_serving("").await).then_some(())).await;
    unplugged.plug_in();
    daemon.ready().await;
    hsmd.rpc().rotate(daemon.head().await.event().id().as_str()).await.expect("a rotation");
    daemon.sign(DOCUMENT).await.expect("a signature");
    assert!(daemon.descriptors() < 1024, "{} descriptors", daemon.descriptors());
    drop(held);
}

#[tokio::test]
async fn a_limit_that_leaves_no_room_for_connections_is_no_start() {
    let hsmd = Hsmd::initialised().await.after(&["prlimit", "--nofile=256:256"]);
    hsmd.run(&["check"]).await.refused("RLIMIT_NOFILE is 256: at least 280 are needed");
    hsmd.launch(&[]).refused("at least 280 descriptors are needed").await;
}
