//! Users of the machine who are no callers and no admins, on each of the Unix sockets.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};

use hsmd_tests::{Hsmd, OtherUser};
use tokio::net::UnixStream;

use crate::operation::hostile::unknown::{UnknownPeers, callers_are_served, served};
use crate::operation::observe;
use crate::operation::remote::Wire;

/// Users and a group of this machine that nobody is.
const UIDS: [u32; 3] = [61_001, 61_002, 61_003];
const GID: u32 = 61_000;

/// Lets three unknown users use up what they can of a socket, while callers are served.
async fn three_users_at(socket: &str) {
    let (hsmd, metrics) = observe::observed(Hsmd::initialised().await);
    let hsmd = hsmd.set("listen.service.mode", "0660").set("listen.admin.mode", "0660");
    let daemon = hsmd.serve().await;
    let path = hsmd.path(socket);
    std::fs::set_permissions(hsmd.path(""), Permissions::from_mode(0o755)).unwrap();
    chown(&path, None, Some(GID)).unwrap();
    let before = daemon.descriptors();
    let (mut users, mut peers) = (Vec::new(), UnknownPeers::none());
    for uid in UIDS {
        let user = OtherUser::before(&path, uid, GID).await;
        let socket = user.socket();
        peers.join(move || {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(Wire::Unix) }
        });
        users.push(user);
    }
    callers_are_served(&daemon, metrics, before, async || hsmd.rpc()).await;
    for _ in 0..50 {
        served("an answer to an admin", async || hsmd.rpc().status().await).await;
    }
    drop((peers, users));
}

#[tokio::test(flavor = "multi_thread")]
async fn three_unknown_users_of_the_service_socket_use_up_nothing_of_the_callers() {
    three_users_at("service.sock").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_unknown_users_of_the_admin_socket_use_up_nothing_of_the_admins() {
    three_users_at("admin.sock").await;
}
