//! Users of the machine who are no callers and no admins, on each of the Unix sockets.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::sync::Arc;

use hsmd_tests::{Hsmd, OtherUser, Rpc};
use tokio::net::UnixStream;
use tonic::Code;
use tonic::transport::Endpoint;

use crate::operation::hostile::unknown::{UnknownPeers, callers_are_served, served};
use crate::operation::remote::Wire;
use crate::operation::{assert_refused, head, observe};

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

/// More groups than the daemon can read are no way to fill its log.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_many_groups_is_known_by_its_uid_and_primary_group() {
    let hsmd = Hsmd::initialised().await.set("listen.service.mode", "0660");
    let member = toml::toml! {
        name = "member"
        gid = 61_100
        read_log = true
    };
    let hsmd = hsmd.push("caller", member);
    let daemon = hsmd.serve().await;
    let path = hsmd.path("service.sock");
    std::fs::set_permissions(hsmd.path(""), Permissions::from_mode(0o755)).unwrap();
    chown(&path, None, Some(GID)).unwrap();
    let groups: Vec<u32> = (61_100..61_140).collect();
    let few = OtherUser::with_groups(&path, UIDS[0], GID, &groups[..32]).await;
    let many = OtherUser::with_groups(&path, UIDS[1], GID, &groups).await;
    let rpc = |user: &OtherUser| {
        let uri = format!("unix://{}", user.socket().display());
        let channel = Endpoint::from_shared(uri).unwrap().connect_lazy();
        Rpc::over(channel.clone(), channel, Arc::clone(&hsmd.observer))
    };
    head(&rpc(&few)).await.expect("a member of one of 32 groups");
    for _ in 0..50 {
        assert_refused(head(&rpc(&many)).await, Code::PermissionDenied, "CALLER_UNKNOWN");
    }
    let log = daemon.log_text();
    assert!(log.matches("supplementary groups").count() < 10, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_unknown_users_of_the_service_socket_use_up_nothing_of_the_callers() {
    three_users_at("service.sock").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_unknown_users_of_the_admin_socket_use_up_nothing_of_the_admins() {
    three_users_at("admin.sock").await;
}
