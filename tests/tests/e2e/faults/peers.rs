//! Peers who ask for too much, names that lead nowhere, and records that find no place.

use std::os::unix::fs::{PermissionsExt, chown};

use hsmd_chain::testing::SoftwareKey;
use hsmd_fault::Times;
use hsmd_tests::{
    ANSWERS, Hsmd, OtherUser, OwnNetwork, SmallDisk, TWO_ADDRESSES, soon, until, write_private,
};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::faults::seen::SOON;
use crate::faults::{Seen, faults};
use crate::operation::hostile::unknown::{UnknownPeers, until_used_up};
use crate::operation::observe;
use crate::operation::remote::Wire;
use crate::{DOCUMENT, WINDOW};

faults! {
    "Peers and records":
    unknown: "a user of the machine who is no caller uses all that unknown peers may have", "nothing";
    greedy: "one caller has as many batches in flight as it may", "nothing";
    lost_address: "the first address of the database's name drops all packets", "nothing";
    log_stalls: "the reader of the log stalls", "reads it again: how many lines were dropped is said";
    audit_disk_full: "the disk of the audit file is full", "makes room";
    audit_moved: "the audit file is moved or deleted", "nothing";
}

/// A user and a group of this machine that no one has.
const STRANGER: (u32, u32) = (61_011, 61_010);

async fn unknown() -> Seen {
    let mut seen = Seen::default();
    let (hsmd, metrics) = observe::observed(Hsmd::initialised().await);
    let hsmd = hsmd.set("listen.service.mode", "0660");
    let daemon = hsmd.serve().await;
    let (path, (uid, gid)) = (hsmd.path("service.sock"), STRANGER);
    std::fs::set_permissions(hsmd.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    chown(&path, None, Some(gid)).unwrap();
    let user = OtherUser::before(&path, uid, gid).await;
    let mut peers = UnknownPeers::none();
    let socket = user.socket();
    peers.join(move || {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(Wire::Unix) }
    });
    until_used_up(metrics).await;
    seen.signs(&daemon).await;
    seen.signs(&hsmd.rpc()).await;
    let tainted = daemon.head().await;
    daemon.taint(tainted.event().id().as_str()).await.expect("a taint");
    seen.said("Taint", "OK");
    seen.forget_signatures_of(&tainted);
    seen.signs(&hsmd.rpc()).await;
    seen.never_ill();
    seen.nothing_lost(&hsmd, 2).await
}

async fn greedy() -> Seen {
    let mut seen = Seen::default();
    let (hsmd, faults) = Hsmd::initialised().await.with_faults();
    let other = toml::toml! {
        name = "other"
        plaintext = true
        sign = ["document"]
    };
    let address = crate::operation::address();
    let hsmd = hsmd
        .set("token.0.queue_length", 1024)
        .set("token.0.health_interval", "30s")
        .push("caller", other)
        .set("listen.plaintext.address", address.to_string())
        .set("listen.plaintext.caller", "other")
        .set("listen.plaintext.anybody_on_this_machine_may_call", true);
    let daemon = hsmd.serve().await;
    // The token is busy with a document of the first batch while the others come.
    faults.reset_counters();
    faults.hang("C_Sign".parse().unwrap(), Times::next(1)).unwrap();
    let mut greedy = JoinSet::new();
    for number in 0..10 {
        let rpc = hsmd.rpc();
        greedy.spawn(async move { rpc.sign_batch(&vec![DOCUMENT.to_owned(); 256]).await });
        if number == 0 {
            let begun = || faults.calls("C_SignInit").unwrap() == 1;
            until("the token is busy", async || begun().then_some(())).await;
        }
    }
    // Besides it two have found room, half of the places.
    for _ in 0..7 {
        let refusal = greedy.join_next().await.unwrap().unwrap().expect_err("no place");
        seen.refused("SignBatch of this caller", &refusal);
    }
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    let channel = channel.connect_lazy();
    let other = hsmd_tests::Rpc::over(channel.clone(), channel, hsmd.observer.clone());
    let signing = tokio::spawn(async move { other.sign(DOCUMENT).await });
    until("the other's document waits", async || {
        (daemon.status().await.ok()?.queue_depth as usize > 512).then_some(())
    })
    .await;
    // So slow that this test sees in time what came first.
    let slow = std::time::Duration::from_millis(5);
    faults.delay("C_Sign".parse().unwrap(), slow, std::time::Duration::ZERO).unwrap();
    faults.release().unwrap();
    let signed = signing.await.unwrap().expect("a signature for another caller");
    assert!(greedy.try_join_next().is_none(), "a batch was signed before");
    seen.said("Sign of another caller", "OK, before the batches");
    seen.keep(vec![signed]);
    for batch in greedy.join_all().await {
        seen.keep(batch.expect("a batch that waited"));
    }
    seen.never_ill();
    seen.nothing_lost(&hsmd, 1).await
}

async fn lost_address() -> Seen {
    let mut seen = Seen::default();
    let hsmd = Hsmd::initialised().await;
    let network = OwnNetwork::make().await;
    let socket = hsmd.database.socket_folder().join(".s.PGSQL.5432");
    let _postgres = network.carry(&format!("{ANSWERS}:5432"), &socket).await;
    let url = hsmd.database.writer_url();
    let (before, _) = url.split_once("?host=").unwrap();
    let by_name = before.replace("@/", &format!("@{TWO_ADDRESSES}:5432/"));
    write_private(&hsmd.path("by-name.url"), &by_name);
    let hsmd = hsmd.set("database.writer_url_file", "@/by-name.url").within(&network);
    let daemon = hsmd.launch(&[]);
    seen.signs_within(SOON, &daemon).await;
    seen.said("Sign", "OK, by the next address");
    daemon.rotate_head().await;
    daemon.stop().await;
    seen.nothing_lost(&hsmd, 2).await
}

async fn log_stalls() -> Seen {
    let mut seen = Seen::default();
    let hsmd = Hsmd::initialised().await.set("log.filter", "debug");
    let log = hsmd.path("log");
    assert!(std::process::Command::new("mkfifo").arg(&log).status().unwrap().success());
    // Held open and not read: it takes 64 KiB.
    let pipe = std::fs::File::options().read(true).write(true).open(&log).unwrap();
    let daemon = hsmd.launch(&[]);
    until("the daemon serves", async || daemon.is_serving("").await.then_some(())).await;
    for _ in 0..1000 {
        soon(daemon.sign("{")).await.expect_err("no document");
    }
    let tainted = daemon.head().await;
    seen.signs(&daemon).await;
    soon(daemon.taint(tainted.event().id().as_str())).await.expect("a taint");
    seen.said("Taint", "OK");
    seen.forget_signatures_of(&tainted);
    seen.signs(&daemon).await;
    seen.never_ill();
    let seen = seen.nothing_lost(&hsmd, 2).await;
    daemon.kill().await;
    drop(pipe);
    seen
}

async fn audit_disk_full() -> Seen {
    let mut seen = Seen::default();
    let disk = SmallDisk::mount(64, "nobody-of-this-name");
    let file = disk.path().join("audit.jsonl").display().to_string();
    let hsmd = Hsmd::initialised().await.set("audit.sink", "file").set("audit.file", file);
    let daemon = hsmd.serve().await;
    disk.fill();
    // Each endorsement is recorded; some find room in the file's last block.
    let key = SoftwareKey::from_seed("a service").public_key().as_str().to_owned();
    until("records are lost", async || {
        daemon.endorse("access", &key, WINDOW).await.expect("an endorsement");
        let status = daemon.status().await.unwrap();
        status
            .problems
            .iter()
            .any(|problem| problem.contains("audit records are lost"))
            .then_some(())
    })
    .await;
    seen.said("Status", "audit records are lost: No space left on device");
    seen.signs(&daemon).await;
    disk.make_room();
    seen.heals_within(SOON, async || {
        daemon.endorse("access", &key, WINDOW).await.expect("an endorsement");
        daemon.status().await.unwrap().problems.is_empty().then_some(())
    })
    .await;
    daemon.rotate_head().await;
    daemon.stop().await;
    seen.nothing_lost(&hsmd, 2).await
}

async fn audit_moved() -> Seen {
    let mut seen = Seen::default();
    let hsmd = Hsmd::initialised().await;
    let hsmd = hsmd.set("audit.sink", "file").set("audit.file", "@/audit.jsonl");
    let daemon = hsmd.serve().await;
    let file = hsmd.path("audit.jsonl");
    std::fs::rename(&file, hsmd.path("moved")).unwrap();
    seen.heals_within(SOON, async || file.exists().then_some(())).await;
    std::fs::remove_file(&file).unwrap();
    seen.heals_within(SOON, async || file.exists().then_some(())).await;
    seen.signs(&daemon).await;
    daemon.rotate_head().await;
    until("the rotation's record is in the new file", async || {
        let text = std::fs::read_to_string(&file).ok()?;
        text.contains("\"method\":\"Rotate\"").then_some(())
    })
    .await;
    seen.nothing_lost(&hsmd, 2).await
}
