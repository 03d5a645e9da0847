//! A frozen feed must not hide a taint: a standby that can't see that the serving daemon's log is the one in
//! the database shows none.

use hsmd_proto::v1::{GetHeadRequest, ListEventsRequest, TaintRequest, WatchEventsRequest};
use hsmd_tests::{Daemon, Hsmd, Proxy, Toll, until};
use tonic::Code;

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
    let expected_generation_id = zero.event().id().to_string();
    let request = TaintRequest { expected_generation_id, reason: "a test taints".into() };
    let answer = first.admin.clone().taint(request).await.expect("a taint").into_inner();
    assert!(answer.pending);
    shows_nothing(&second).await;
    hsmd.database.tamper(&format!("DELETE FROM event WHERE id = '{JUNK_ID}'")).await;
    shows(&second, 1).await;
    assert_eq!(hsmd.history().await.events().len(), 2);
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
