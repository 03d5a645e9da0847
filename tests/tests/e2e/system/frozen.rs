//! A frozen feed must not hide a taint: a standby that can't see that the serving daemon's log is the one in
//! the database shows none.

use std::time::Duration;

use hsmd_chain::Digest;
use hsmd_proto::v1::{
    GetHeadRequest, ListEventsRequest, TaintRequest, TaintResponse, WatchEventsRequest,
};
use hsmd_tests::{Daemon, Database, Hsmd, Proxy, Toll, until};
use tonic::Code;

use crate::DOCUMENT;
use crate::system::ownership::LEASE;
use crate::system::standby::stands_by;
use crate::system::taint::{JUNK_ID, junk};

/// Readers are refused, whatever they ask.
async fn shows_nothing(standby: &Daemon) {
    until("readers are refused", async || {
        standby.key_log.clone().get_head(GetHeadRequest {}).await.err()
    })
    .await;
    let (list, watch) = (ListEventsRequest::default(), WatchEventsRequest::default());
    let refused = [
        standby.key_log.clone().get_head(GetHeadRequest {}).await.map(drop),
        standby.key_log.clone().list_events(list).await.map(drop),
        standby.key_log.clone().watch_events(watch).await.map(drop),
    ];
    for refused in refused {
        assert_eq!(refused.unwrap_err().code(), Code::Unavailable);
    }
    until("health says so", async || !standby.is_serving("hsmd.v1.KeyLog").await).await;
}

async fn shows(standby: &Daemon, number: u32) {
    until("it shows the log", async || {
        let head = standby.key_log.clone().get_head(GetHeadRequest {}).await.ok()?;
        let text = head.into_inner().head?.text;
        text.contains(&format!("\"sequenceNumber\":{number},")).then_some(())
    })
    .await;
}

async fn taint(daemon: &Daemon, head: Digest) -> TaintResponse {
    let expected_generation_id = head.to_string();
    let request = TaintRequest { expected_generation_id, reason: "a test taints".into() };
    daemon.admin.clone().taint(request).await.expect("a taint").into_inner()
}

#[tokio::test]
async fn a_standby_that_does_not_see_the_lock_shows_no_log() {
    let hsmd = Hsmd::initialised().await.set("standby", true);
    let proxy = Proxy::before(hsmd.database.socket_folder());
    let file = proxy.folder().join("writer.url");
    hsmd_tests::write_private(&file, &hsmd.database.writer_url_by(proxy.folder()));
    let twin = hsmd.twin().set("database.writer_url_file", file.display().to_string());
    let (first, second) = (hsmd.serve().await, twin.launch(&[]));
    stands_by(&second).await;
    let mut watch = second
        .key_log
        .clone()
        .watch_events(WatchEventsRequest::default())
        .await
        .unwrap()
        .into_inner();
    // Six ways to lose sight of it: each of two, three times.
    for number in 1..=6 {
        proxy.take(if number % 2 == 0 { Toll::Connections } else { Toll::Everything });
        shows_nothing(&second).await;
        first.taint_head().await;
        proxy.take(Toll::Nothing);
        shows(&second, number).await;
    }
    while let Ok(Some(_)) = watch.message().await {}
    assert_eq!(hsmd.history().await.events().len(), 7);
}

#[tokio::test]
async fn a_standby_shows_no_log_while_a_taint_is_pending() {
    let hsmd = Hsmd::initialised().await.set("standby", true);
    let (first, twin) = (hsmd.serve().await, hsmd.twin());
    let second = twin.launch(&[]);
    stands_by(&second).await;
    let zero = first.head().await;
    hsmd.database.execute(false, &junk(&zero)).await.expect("what a writer may do");
    assert!(taint(&first, zero.event().id()).await.pending);
    shows_nothing(&second).await;
    hsmd.database.tamper(&format!("DELETE FROM event WHERE id = '{JUNK_ID}'")).await;
    shows(&second, 1).await;
    assert_eq!(hsmd.history().await.events().len(), 2);
}

/// A COMMIT that waits for replicas keeps its session's locks, and its row is not seen. The session that waits
/// holds the lock for the daemon, which goes on signing.
#[tokio::test]
async fn a_standby_shows_no_log_while_a_taint_waits_for_replicas() {
    let hsmd = Hsmd::fresh_over(Database::create_alone().await).await;
    let hsmd = hsmd.set("standby", true).set("lock_grace", LEASE);
    hsmd.migrate().await;
    hsmd.init().await;
    let (first, twin) = (hsmd.serve().await, hsmd.twin());
    let second = twin.launch(&[]);
    stands_by(&second).await;
    shows(&second, 0).await;
    let replicas = async |setting: &str| {
        hsmd.database.as_superuser(&format!("ALTER SYSTEM {setting}")).await;
        hsmd.database.as_superuser("SELECT pg_reload_conf()").await;
    };
    replicas("SET synchronous_standby_names = 'away'").await;
    let zero = first.head().await.event().id();
    assert!(taint(&first, zero).await.pending);
    shows_nothing(&second).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    until("it signs without replicas", async || first.sign(DOCUMENT).await.ok()).await;
    shows_nothing(&second).await;
    replicas("RESET synchronous_standby_names").await;
    shows(&second, 1).await;
    assert_eq!(hsmd.history().await.events().len(), 2);
}

/// A start that died behind its claim has not read what the owner before it had left on the token: as long as
/// that is away, a taint in it must not be hidden.
#[tokio::test]
async fn a_claim_that_was_not_merged_shows_no_log_without_the_token() {
    let hsmd = Hsmd::initialised().await;
    let proxy = Proxy::before(hsmd.database.socket_folder());
    let file = proxy.folder().join("writer.url");
    hsmd_tests::write_private(&file, &hsmd.database.writer_url_by(proxy.folder()));
    let before = hsmd.twin().set("database.writer_url_file", file.display().to_string());
    let first = before.serve().await;
    proxy.take(Toll::Connections);
    let zero = first.head().await.event().id();
    let answer = taint(&first, zero).await;
    assert!(answer.pending);
    first.kill().await;
    hsmd.launch_until("owner::taken").died().await;

    let unplugged = hsmd.token.unplug();
    let mut second = hsmd.launch(&[]);
    second.problem("waiting for the token").await;
    shows_nothing(&second).await;
    unplugged.plug_in();
    second.ready().await;
    assert_eq!(second.head().await.text(), answer.event.expect("its event").text);
    second.kill().await;

    // What was merged is in its own journal: from now on readers need not wait.
    let unplugged = hsmd.token.unplug();
    let second = hsmd.launch(&[]);
    second.problem("waiting for the token").await;
    shows(&second, 1).await;
    unplugged.plug_in();
    hsmd.history().await;
}

#[tokio::test]
async fn a_starting_daemon_of_a_standby_pair_shows_no_log_while_the_database_is_away() {
    let hsmd = Hsmd::initialised().await.set("standby", true);
    let proxy = Proxy::before(hsmd.database.socket_folder());
    let file = proxy.folder().join("writer.url");
    hsmd_tests::write_private(&file, &hsmd.database.writer_url_by(proxy.folder()));
    let hsmd = hsmd.set("database.writer_url_file", file.display().to_string());
    hsmd.serve().await.kill().await;
    let unplugged = hsmd.token.unplug();
    let daemon = hsmd.launch(&[]);
    daemon.problem("waiting for the token").await;
    shows(&daemon, 0).await;
    // From now on another daemon may have the lock.
    proxy.take(Toll::Everything);
    shows_nothing(&daemon).await;
    proxy.take(Toll::Nothing);
    shows(&daemon, 0).await;
    unplugged.plug_in();
}
