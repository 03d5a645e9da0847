//! VerifiedLog and Endorser with the log over HTTP, as the keys service publishes it.

use std::sync::Arc;
use std::time::Duration;

use hsmd_chain::testing::{LogBuilder, SoftwareKey};
use hsmd_chain::{Anchor, ExtendError, HeadError};
use hsmd_client::{
    CheckError, Endorser, HttpLog, LogOptions, LogSource, Problem, TerminalError, VerifiedLog,
};
use hsmd_tests::peer::Peer;
use hsmd_tests::{Head, Published, now, soon, until};

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
    until("fresh", async || log.fresh().is_ok()).await;

    published.publish(&builder.clone().rotate().taint());
    until("five events", async || length(&log) == 5).await;

    *published.keys.down.lock() = true;
    until("the log is stale for this reason", async || {
        let stale = matches!(log.fresh(), Err(CheckError::Stale { since: Some(_) }));
        let problem = log.problem();
        stale && matches!(problem.as_deref(), Some(Problem::HttpStatus { status: 503, .. }))
    })
    .await;
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

/// What the log's problem is, once it is stale.
async fn stale(log: &VerifiedLog) -> Arc<Problem> {
    until("stale for a reason", async || {
        log.fresh().err()?;
        log.problem()
    })
    .await
}

#[tokio::test]
async fn a_frozen_mirror_is_stale_whatever_it_says() {
    let builder = LogBuilder::of_length("frozen", 3);
    let published = Published::start(&builder).await;
    published.freeze_head(&builder, Duration::ZERO);
    // So long that the statement is new when the log has been verified.
    let options = short().max_staleness(Duration::from_secs(3));
    let log = follow(&published, builder.anchor(), options);
    soon(log.ready()).await.expect("the statement is new");
    let problem = stale(&log).await;
    assert!(matches!(&*problem, Problem::Head(HeadError::Stale { .. })), "{problem}");
    assert!(log.head_statement().is_none());

    *published.keys.head.lock() = Head::Now;
    soon(log.ready()).await.expect("heals");
    let statement = log.head_statement().expect("kept for others");
    assert_eq!(statement.signed().generation_id(), builder.id(2));
}

#[tokio::test]
async fn only_the_heads_own_new_statement_is_contact() {
    let builder = LogBuilder::of_length("statements", 3);
    let minute = Duration::from_secs(61);
    let published = Published::start(&builder).await;
    published.freeze_head(&builder, minute);
    let options = LogOptions::default();
    let log = follow(&published, builder.anchor(), options.clone());
    let problem = stale(&log).await;
    assert!(matches!(&*problem, Problem::Head(HeadError::Stale { .. })), "{problem}");

    // Of an earlier generation, and of another log.
    published.freeze_head(&builder.rewound_to(2), Duration::ZERO);
    let log = follow(&published, builder.anchor(), options.clone());
    let problem = stale(&log).await;
    let behind = HeadError::Behind { head: 2, found: 1 };
    assert!(matches!(&*problem, Problem::Head(error) if *error == behind), "{problem}");
    published.freeze_head(&LogBuilder::of_length("another", 3), Duration::ZERO);
    let log = follow(&published, builder.anchor(), options.clone());
    let problem = stale(&log).await;
    assert!(matches!(&*problem, Problem::Head(HeadError::Body(_))), "{problem}");

    *published.keys.head.lock() = Head::Kept("{}".to_owned());
    let log = follow(&published, builder.anchor(), options);
    let problem = stale(&log).await;
    assert!(matches!(&*problem, Problem::HeadForm { .. }), "{problem}");
    assert_eq!(length(&log), 3, "the log itself is good");
}

#[tokio::test]
async fn an_event_without_its_statement_is_taken_and_confirms_nothing() {
    let builder = LogBuilder::of_length("lonely", 2);
    let published = Published::start(&builder).await;
    let log = follow(&published, builder.anchor(), short());
    soon(log.ready()).await.expect("ready");
    published.freeze_head(&builder, Duration::ZERO);
    published.publish(&builder.clone().taint());
    until("the taint", async || length(&log) == 3).await;
    let problem = stale(&log).await;
    assert!(matches!(&*problem, Problem::Head(HeadError::Behind { .. })), "{problem}");
    published.keys.head.lock().clone_from(&Head::Now);
    soon(log.ready()).await.expect("heals");
}

/// Somebody in between may show such an event again and again.
#[tokio::test]
async fn an_event_from_the_future_is_no_contact() {
    let builder = LogBuilder::of_length("early", 2);
    let ahead = now().saturating_add(Duration::from_secs(3600));
    let early = builder.clone().append(ahead, true);
    let published = Published::start(&builder).await;
    let log = follow(&published, builder.anchor(), short());
    soon(log.ready()).await.expect("ready");

    published.freeze_head(&builder, Duration::ZERO);
    published.publish(&early);
    let problem = stale(&log).await;
    assert!(is_of_the_future(&problem), "{problem}");
    let snapshot = log.snapshot().expect("a log");
    assert!(!snapshot.is_live(&builder.id(1), now(), Duration::ZERO), "the taint counts");

    // A first contact sees the same.
    let log = follow(&published, builder.anchor(), LogOptions::default());
    let problem = stale(&log).await;
    assert!(is_of_the_future(&problem), "{problem}");
    assert!(matches!(log.fresh(), Err(CheckError::Stale { since: None })));
}

fn is_of_the_future(problem: &Problem) -> bool {
    matches!(problem, Problem::Event(ExtendError::Future { .. }))
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
