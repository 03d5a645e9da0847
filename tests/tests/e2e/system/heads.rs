//! Head statements: an idle daemon says which event is the head, signed by its key.

use std::time::Duration;

use hsmd_chain::{Freshness, HeadStatement};
use hsmd_fault::Times;
use hsmd_proto::v1;
use hsmd_proto::v1::watch_events_response::Message;
use hsmd_tests::{Hsmd, Rpc, now, statement, until};

const FRESH: Freshness =
    Freshness { max_staleness: Duration::from_secs(60), skew: Duration::from_secs(5) };

async fn statement_of(rpc: &Rpc, number: u32) -> HeadStatement {
    until("a statement about the head", async || {
        let statement = rpc.head_statement().await?;
        (statement.sequence_number() == number).then_some(statement)
    })
    .await
}

#[tokio::test]
async fn the_active_key_says_again_and_again_that_its_event_is_the_head() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    let first = statement_of(&daemon, 0).await;
    let later = until("a later one", async || {
        let statement = daemon.head_statement().await?;
        (statement.issued_at() > first.issued_at()).then_some(statement)
    })
    .await;
    let log = daemon.log().await;
    for statement in [&first, &later] {
        statement.verify(&log, now(), FRESH).unwrap();
    }

    daemon.rotate_head().await;
    let next = statement_of(&daemon, 1).await;
    let log = daemon.log().await;
    next.verify(&log, now(), FRESH).unwrap();
    later.verify(&log, now(), FRESH).unwrap_err();
    hsmd.history().await;
}

#[tokio::test]
async fn heartbeats_carry_the_newest_statement() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    statement_of(&daemon, 0).await;
    let request = v1::WatchEventsRequest { from_sequence: 0 };
    let mut stream = daemon.key_log.clone().watch_events(request).await.unwrap().into_inner();
    let found = loop {
        let message = stream.message().await.unwrap().expect("the stream goes on");
        if let Some(Message::Heartbeat(heartbeat)) = message.message {
            break statement(heartbeat.statement).expect("a statement in the heartbeat");
        }
    };
    found.verify(&daemon.log().await, now(), FRESH).unwrap();
}

#[tokio::test]
async fn a_tainted_key_says_nothing_more() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    for _ in 0..5 {
        let head = daemon.head().await.event().sequence_number();
        statement_of(&daemon, head).await;
        let event = daemon.taint_head().await;
        if let Some(statement) = daemon.head_statement().await {
            assert_eq!(statement.signed().generation_id(), event.event().id());
        }
        statement_of(&daemon, head + 1).await;
    }
    hsmd.history().await;
}

#[tokio::test]
async fn a_daemon_whose_token_does_not_sign_makes_no_statement() {
    let (hsmd, faults) = Hsmd::initialised().await.with_faults();
    let daemon = hsmd.serve().await;
    statement_of(&daemon, 0).await;
    let code = "CKR_DEVICE_ERROR".parse().unwrap();
    faults.fail("C_Sign".parse().unwrap(), code, Times::always(), false).unwrap();
    let none = async || daemon.head_statement().await.is_none().then_some(());
    until("no statement is given out", none).await;
    faults.clear(hsmd_fault::Scope::All).unwrap();
    statement_of(&daemon, 0).await;
}
