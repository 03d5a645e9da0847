//! VerifiedLog and Endorser with the log over HTTP, as the keys service publishes it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get};
use hsmd_chain::testing::{LogBuilder, SoftwareKey};
use hsmd_chain::{Anchor, Digest};
use hsmd_client::{
    CheckError, Endorser, Halt, HttpLog, LogOptions, LogSource, Problem, VerifiedLog,
};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::peer::{Peer, now};
use crate::{client, soon, until};

/// What is published, and how many answers of each status were given.
struct Keys {
    text: Mutex<String>,
    down: Mutex<bool>,
    unchanged: watch::Sender<usize>,
}

struct Published {
    keys: Arc<Keys>,
    url: String,
    _server: AbortOnDropHandle<std::io::Result<()>>,
}

impl Published {
    async fn start(log: &LogBuilder) -> Self {
        let keys = Arc::new(Keys {
            text: Mutex::new(log.to_json()),
            down: Mutex::new(false),
            unchanged: watch::Sender::new(0),
        });
        let app = Router::new().route("/hsm/keys", get(answer)).with_state(Arc::clone(&keys));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = tokio::spawn(axum::serve(listener, app).into_future());
        Self { keys, url, _server: AbortOnDropHandle::new(server) }
    }

    fn publish(&self, log: &LogBuilder) {
        *self.keys.text.lock() = log.to_json();
    }

    fn source(&self) -> LogSource {
        let log = HttpLog::new(&self.url).expect("a URL");
        LogSource::Http(log.interval(Duration::from_millis(10)))
    }

    fn follow(&self, anchor: Anchor, options: LogOptions) -> VerifiedLog {
        VerifiedLog::follow(self.source(), anchor, options).expect("follows")
    }
}

async fn answer(State(keys): State<Arc<Keys>>, headers: HeaderMap) -> Response {
    if *keys.down.lock() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let text = keys.text.lock().clone();
    let etag = format!("\"{}\"", Digest::of(text.as_bytes()));
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| *known == *etag) {
        keys.unchanged.send_modify(|count| *count += 1);
        return StatusCode::NOT_MODIFIED.into_response();
    }
    ([(header::ETAG, etag)], text).into_response()
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
    let log = published.follow(builder.anchor(), short());
    soon(log.ready()).await.expect("ready");
    let mut unchanged = published.keys.unchanged.subscribe();
    soon(unchanged.wait_for(|count| *count > 2)).await.expect("an unchanged log costs no body");
    assert!(log.fresh().is_ok());

    published.publish(&builder.clone().rotate().taint());
    until(|| length(&log) == 5).await;

    *published.keys.down.lock() = true;
    until(|| matches!(log.fresh(), Err(CheckError::Stale { since: Some(_) }))).await;
    let problem = log.problem();
    assert!(matches!(problem.as_deref(), Some(Problem::HttpStatus { status: 503, .. })));
    *published.keys.down.lock() = false;
    soon(log.ready()).await.expect("heals");
}

#[tokio::test]
async fn a_lagging_replica_is_forgiven_and_a_rollback_is_not() {
    let builder = LogBuilder::of_length("lag", 3);
    let published = Published::start(&builder).await;
    let log = published.follow(builder.anchor(), short());
    soon(log.ready()).await.expect("ready");

    published.publish(&builder.rewound_to(2));
    until(|| matches!(log.problem().as_deref(), Some(Problem::Behind { head_sequence: 2 }))).await;
    published.publish(&builder);
    until(|| log.problem().is_none()).await;
    assert!(log.halted().is_none());

    published.publish(&builder.rewound_to(2));
    let halt = soon(log.wait_halted()).await;
    assert!(matches!(*halt, Halt::RolledBack { head_sequence: 2 }), "{halt}");
    until(|| matches!(log.fresh(), Err(CheckError::Halted(_)))).await;
    assert_eq!(length(&log), 3);
}

#[tokio::test]
async fn a_fork_ends_the_following_and_garbage_does_not() {
    let builder = LogBuilder::of_length("httpfork", 3);
    let published = Published::start(&builder).await;
    let log = published.follow(builder.anchor(), LogOptions::default());
    soon(log.ready()).await.expect("ready");
    for garbage in ["", "[]", "{}", "[{}]"] {
        garbage.clone_into(&mut published.keys.text.lock());
        until(|| log.problem().is_some()).await;
        published.publish(&builder);
        until(|| log.problem().is_none()).await;
    }
    let theirs = builder.stolen_at(1, "thief").append(now(), false);
    published.publish(&theirs);
    match &*soon(log.wait_halted()).await {
        Halt::Forked { sequence_number: 1, ours, theirs: found } => {
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
    let log = published.follow(start.anchor(), LogOptions::default());
    let key = *SoftwareKey::from_seed("service").public_key();
    let hour = Duration::from_secs(3600);
    let endorser = Endorser::start(&client(&peer), log, "response", key, hour);
    soon(endorser.ready()).await;
    peer.state.append(true);
    let moved = peer.state.log.borrow().clone();
    published.publish(&moved);
    until(|| endorser.current().is_some_and(|it| it.generation_id() == moved.id(1))).await;
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
