//! Postgres is away, slow, full or read-only.

use std::time::Duration;

use hsmd_proto::v1::ServingState;
use hsmd_tests::{Database, Hsmd, Pooler, Proxy, SmallDisk, Toll, until};

use crate::faults::seen::{SOON, is_ready};
use crate::faults::{Seen, faults};

faults! {
    "Database":
    stopped: "Postgres is stopped and started", "starts it";
    down_at_start: "Postgres is down when the daemon starts", "starts it";
    down_and_stolen: "Postgres is down when the daemon starts, and the key is stolen", "starts it";
    restarted: "Postgres is restarted", "nothing";
    cut_while_idle: "the connection is cut between calls", "nothing";
    unreachable: "Postgres neither answers nor closes (a broken switch)", "repairs the way to it";
    pooled: "a transaction pooler stands before Postgres", "connects to Postgres directly";
    disk_full: "Postgres's disk is full", "makes room";
    read_only: "Postgres is read-only (a demoted primary)", "makes it writable";
}

async fn with_a_server_of_its_own() -> Hsmd {
    let hsmd = Hsmd::fresh().await.with_database(Database::create_alone().await);
    hsmd.migrate().await;
    hsmd.init().await;
    hsmd
}

async fn stopped() -> Seen {
    let (hsmd, mut seen) = (with_a_server_of_its_own().await, Seen::default());
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await;
    hsmd.database.stop_server();
    daemon.problem("database").await;
    seen.signs(&daemon).await;
    seen.refuses_to_rotate(&daemon, zero.event().id().as_str(), "DATABASE_UNAVAILABLE").await;
    seen.signs(&daemon).await;
    is_ready(&daemon).await;
    let one = seen.taints(&daemon, zero.event().id().as_str(), true).await.event().id();
    seen.forget_signatures_of(&zero);
    seen.refuses_to_rotate(&daemon, one.as_str(), "DATABASE_UNAVAILABLE").await;
    seen.signs(&daemon).await;
    hsmd.database.start_server();
    seen.rotates_within(SOON, &daemon, one.as_str()).await;
    seen.signs(&daemon).await;
    seen.nothing_lost(&hsmd, 3).await
}

async fn down_at_start() -> Seen {
    let (hsmd, mut seen) = (with_a_server_of_its_own().await, Seen::default());
    hsmd.database.stop_server();
    let daemon = hsmd.launch(&[]);
    let status = daemon.problem("waiting for the database").await;
    assert_eq!(status.state(), ServingState::Starting);
    seen.refuses_to_sign(&daemon, "STARTING").await;
    seen.said("Status", "waiting for the database");
    hsmd.database.start_server();
    seen.signs_within(SOON, &daemon).await;
    seen.nothing_lost(&hsmd, 1).await
}

async fn down_and_stolen() -> Seen {
    let (hsmd, mut seen) = (with_a_server_of_its_own().await, Seen::default());
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await.event().id();
    daemon.kill().await;
    hsmd.database.stop_server();
    let daemon = hsmd.launch(&[]);
    daemon.problem("waiting for the database").await;
    seen.refuses_to_sign(&daemon, "STARTING").await;
    until("it may taint", async || daemon.log_text().contains("taints are made without it")).await;
    let one = seen.taints(&daemon, zero.as_str(), true).await.event().id();
    seen.refuses_to_sign(&daemon, "STARTING").await;
    hsmd.database.start_server();
    seen.signs_within(SOON, &daemon).await;
    seen.rotates_within(SOON, &daemon, one.as_str()).await;
    seen.nothing_lost(&hsmd, 3).await
}

async fn restarted() -> Seen {
    let (hsmd, mut seen) = (with_a_server_of_its_own().await, Seen::default());
    let daemon = hsmd.serve().await;
    let zero = daemon.rotate_head().await.event().id();
    hsmd.database.stop_server();
    hsmd.database.start_server();
    seen.signs(&daemon).await;
    seen.rotates_within(SOON, &daemon, zero.as_str()).await;
    seen.nothing_lost(&hsmd, 3).await
}

async fn cut_while_idle() -> Seen {
    let (hsmd, mut seen) = (Hsmd::initialised().await, Seen::default());
    let daemon = hsmd.serve().await;
    for _ in 0..3 {
        let head = daemon.head().await.event().id();
        hsmd.database.cut_connections().await;
        seen.signs(&daemon).await;
        seen.rotates_within(SOON, &daemon, head.as_str()).await;
    }
    seen.nothing_lost(&hsmd, 4).await
}

/// An hsmd whose writer comes by way of a proxy.
pub(crate) async fn behind_a_proxy() -> (Hsmd, Proxy) {
    let hsmd = Hsmd::initialised().await;
    let proxy = Proxy::before(hsmd.database.socket_folder());
    let url = hsmd.database.writer_url_by(proxy.folder());
    let file = proxy.folder().join("writer.url");
    hsmd_tests::write_private(&file, &url);
    (hsmd.set("database.writer_url_file", file.display().to_string()), proxy)
}

async fn unreachable() -> Seen {
    let ((hsmd, proxy), mut seen) = (behind_a_proxy().await, Seen::default());
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await.event().id();
    proxy.take(Toll::Everything);
    seen.signs(&daemon).await;
    seen.refuses_to_rotate(&daemon, zero.as_str(), "DATABASE_UNAVAILABLE").await;
    daemon.problem("did not answer within 5s").await;
    seen.said("Status", "did not answer within 5s");
    seen.signs(&daemon).await;
    proxy.take(Toll::Nothing);
    seen.rotates_within(Duration::from_secs(15), &daemon, zero.as_str()).await;
    seen.signs(&daemon).await;
    seen.nothing_lost(&hsmd, 2).await
}

async fn pooled() -> Seen {
    let (hsmd, mut seen) = (Hsmd::initialised().await, Seen::default());
    let pooler = Pooler::before(hsmd.database.socket_folder());
    let url = hsmd.database.writer_url_by(pooler.folder());
    let (own, file) = (hsmd.path("writer.url"), pooler.folder().join("writer.url"));
    hsmd_tests::write_private(&file, &url);
    let hsmd = hsmd.set("database.writer_url_file", file.display().to_string());
    let words = "the database is behind a transaction pooler";
    hsmd.launch(&[]).refused(words).await;
    seen.said("exit", words);
    let hsmd = hsmd.set("database.writer_url_file", own.display().to_string());
    seen.goes_on_by_a_person(&hsmd, 2).await
}

async fn disk_full() -> Seen {
    let (hsmd, mut seen) = (Hsmd::initialised().await, Seen::default());
    let disk = SmallDisk::mount(512, "postgres");
    let space = format!("small_{}", std::process::id());
    let folder = disk.path().display();
    hsmd.database.as_superuser(&format!("CREATE TABLESPACE {space} LOCATION '{folder}'")).await;
    let grant = format!("GRANT CREATE ON TABLESPACE {space} TO PUBLIC");
    hsmd.database.as_superuser(&grant).await;
    let moved = format!("ALTER TABLE event SET TABLESPACE {space}");
    hsmd.database.execute(true, &moved).await.unwrap();
    let daemon = hsmd.serve().await;
    disk.fill();
    // Rows still fit into the pages that are there.
    let mut head = daemon.head().await.event().id();
    let refusal = loop {
        match daemon.rotate(head.as_str()).await {
            Ok((event, _)) => head = event.event().id(),
            Err(refusal) => break refusal,
        }
    };
    assert!(refusal.message.contains("No space left on device"), "{refusal:?}");
    seen.refuses_to_rotate(&daemon, head.as_str(), "DATABASE_UNAVAILABLE").await;
    seen.said("the message", "No space left on device");
    seen.signs(&daemon).await;
    disk.make_room();
    seen.rotates_within(SOON, &daemon, head.as_str()).await;
    seen.signs(&daemon).await;
    let seen = seen.one_history(&hsmd).await;
    hsmd.database.execute(true, "ALTER TABLE event SET TABLESPACE pg_default").await.unwrap();
    hsmd.database.as_superuser(&format!("DROP TABLESPACE {space}")).await;
    seen
}

async fn read_only() -> Seen {
    let (hsmd, mut seen) = (Hsmd::initialised().await, Seen::default());
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await.event().id();
    hsmd.database.set_read_only(true).await;
    hsmd.database.cut_connections().await;
    seen.signs(&daemon).await;
    // Said before anybody rotates.
    let words = "read-only or a hot standby";
    daemon.problem(words).await;
    seen.refuses_to_rotate(&daemon, zero.as_str(), "DATABASE_UNAVAILABLE").await;
    seen.said("Status", words);
    seen.signs(&daemon).await;
    hsmd.database.set_read_only(false).await;
    seen.rotates_within(SOON, &daemon, zero.as_str()).await;
    seen.nothing_lost(&hsmd, 2).await
}
