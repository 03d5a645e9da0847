//! VerifiedLog and Endorser with the log over HTTP, as the keys service publishes it.

use std::time::Duration;

use hsmd_chain::Anchor;
use hsmd_chain::testing::{LogBuilder, SoftwareKey};
use hsmd_client::{
    CheckError, Endorser, HttpLog, LogOptions, LogSource, Problem, TerminalError, VerifiedLog,
};
use hsmd_tests::peer::Peer;
use hsmd_tests::{Published, now, soon, until};

use crate::client;

fn source(published: &Published) -> LogSource {
    let log = HttpLog::new(&published.url()).expect("a URL");
    LogSource::Http(log.interval(Duration::from_millis(10)))
}

fn follow(published: &Published, anchor: Anchor, options: LogOptions) -> VerifiedLog {
    VerifiedLog::follow(source(published), anchor, options).expect("follows")
}

fn short() -> LogOptions {
    let short = Duration::from_millis(300);
    LogOptions::default().max_staleness(short).rollback_grace(Duration::from_secs(1))
}

fn length(log: &VerifiedLog) -> usize {
    log.snapshot().map_or(0, |log| log.events().len())
}

#[tokio::test]
async fn follows_goes_stale_and_heals() {
    let builder = LogBuilder::of_length("http", 3);
    let published = Published::start(&builder).await;
    let log = follow(&published, builder.anchor(), short());
    soon(log.ready()).await.expect("ready");
    let mut unchanged = published.keys.unchanged.subscribe();
    soon(unchanged.wait_for(|count| *count > 2)).await.expect("an unchanged log costs no body");
    assert!(log.fresh().is_ok());

    published.publish(&builder.clone().rotate().taint());
    until("five events", async || length(&log) == 5).await;

    *published.keys.down.lock() = true;
    until("the log is stale", async || {
        matches!(log.fresh(), Err(CheckError::Stale { since: Some(_) }))
    })
    .await;
    let problem = log.problem();
    assert!(matches!(problem.as_deref(), Some(Problem::HttpStatus { status: 503, .. })));
    *published.keys.down.lock() = false;
    soon(log.ready()).await.expect("heals");
}

#[tokio::test]
async fn a_lagging_replica_is_forgiven_and_a_rollback_is_not() {
    let builder = LogBuilder::of_length("lag", 3);
    let published = Published::start(&builder).await;
    let log = follow(&published, builder.anchor(), short());
    soon(log.ready()).await.expect("ready");

    published.publish(&builder.rewound_to(2));
    until("the log is behind", async || {
        matches!(log.problem().as_deref(), Some(Problem::Behind { head_sequence: 2 }))
    })
    .await;
    published.publish(&builder);
    until("no problem", async || log.problem().is_none()).await;
    assert!(log.terminal_error().is_none());

    published.publish(&builder.rewound_to(2));
    let error = soon(log.wait_terminal_error()).await;
    assert!(matches!(*error, TerminalError::RolledBack { head_sequence: 2 }), "{error}");
    until("the following has ended", async || matches!(log.fresh(), Err(CheckError::Terminal(_))))
        .await;
    assert_eq!(length(&log), 3);
}

#[tokio::test]
async fn a_fork_ends_the_following_and_garbage_does_not() {
    let builder = LogBuilder::of_length("httpfork", 3);
    let published = Published::start(&builder).await;
    let log = follow(&published, builder.anchor(), LogOptions::default());
    soon(log.ready()).await.expect("ready");
    for garbage in ["", "[]", "{}", "[{}]"] {
        garbage.clone_into(&mut published.keys.text.lock());
        until("a problem", async || log.problem().is_some()).await;
        published.publish(&builder);
        until("no problem", async || log.problem().is_none()).await;
    }
    let theirs = builder.stolen_at(1, "thief").append(now(), false);
    published.publish(&theirs);
    match &*soon(log.wait_terminal_error()).await {
        TerminalError::Forked { sequence_number: 1, ours, theirs: found } => {
            assert_eq!((*ours, *found), (builder.id(1), theirs.id(1)));
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_endorser_works_with_it() {
    let peer = Peer::start(LogBuilder::new("mixed"));
    let start = peer.state.log.borrow().clone();
    let published = Published::start(&start).await;
    let log = follow(&published, start.anchor(), LogOptions::default());
    let key = *SoftwareKey::from_seed("service").public_key();
    let hour = Duration::from_secs(3600);
    let endorser = Endorser::start(&client(&peer), log, "response", key, hour);
    soon(endorser.ready()).await;
    peer.state.append(true);
    let moved = peer.state.log.borrow().clone();
    published.publish(&moved);
    until("endorsed by the head", async || {
        endorser.current().is_some_and(|it| it.generation_id() == moved.id(1))
    })
    .await;
}

#[test]
fn urls_are_told_apart() {
    for bad in ["https://keys", "keys:80", "/hsm/keys", "unix:///x", ""] {
        HttpLog::new(bad).map(drop).expect_err(bad);
    }
    for good in ["http://keys", "http://keys:8080/", "http://keys/other/path"] {
        HttpLog::new(good).expect(good);
    }
}
