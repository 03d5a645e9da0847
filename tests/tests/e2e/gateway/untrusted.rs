//! The gateway's log for readers who believe head statements and not the gateway.

use std::time::Duration;

use hsmd_chain::{Anchor, Digest, Freshness, HeadStatement, KeyLog};
use hsmd_client::{HttpLog, LogOptions, LogSource, VerifiedLog};
use hsmd_tests::{RunningService, now, soon, until};

use super::Behind;
use super::curl::Curl;

/// How old a statement may be here, and how far ahead of the clock.
const FRESHNESS: Freshness =
    Freshness { max_staleness: Duration::from_secs(10), skew: Duration::from_secs(5) };

fn follow(gateway: &RunningService, identity: Digest) -> VerifiedLog {
    let source = LogSource::Http(HttpLog::new(&gateway.url).unwrap());
    let options = LogOptions::default().max_staleness(FRESHNESS.max_staleness);
    VerifiedLog::follow(source, Anchor::new(identity), options).unwrap()
}

#[tokio::test]
async fn a_statement_shows_that_the_log_is_the_newest() {
    let behind = Behind::start().await;
    let gateway = RunningService::start("gateway", behind.folder.path(), &behind.loopback()).await;
    let curl = Curl::to(&gateway.url);
    let identity = behind.daemon.log().await.identity();
    let follower = follow(&gateway, identity);
    soon(follower.ready()).await.unwrap();
    behind.daemon.taint_head().await;
    let head = behind.daemon.log().await.position().id;
    until("the follower has the new head, freshly stated", async || {
        follower.fresh().is_ok_and(|log| log.position().id == head)
            && follower.head_statement().is_some()
    })
    .await;

    let stated = curl.get("/hsm/head").await;
    assert_eq!(stated.status, 200, "{stated:?}");
    let text = curl.get("/hsm/keys").await.body;
    let log = KeyLog::verify_json(text.as_bytes(), &Anchor::new(identity), now(), FRESHNESS.skew)
        .unwrap();
    let statement = HeadStatement::parse(&stated.body).unwrap();
    statement.verify(&log, now(), FRESHNESS).unwrap();

    let tag = format!("\"{head}\"");
    for path in ["/hsm/keys", "/log"] {
        let answer = curl.get(path).await;
        assert_eq!((answer.status, &answer.body), (200, &text), "{path}");
        assert!(answer.headers.contains(&format!("etag: {tag}").to_lowercase()), "{answer:?}");
        let known = format!("If-None-Match: {tag}");
        let again = curl.send(path, &["-H", &known], None).await.unwrap();
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}");
    }
}

#[tokio::test]
async fn a_gateway_that_serves_an_old_log_is_not_believed() {
    let behind = Behind::start().await;
    let config = behind.loopback().replace("\"15s\"", "\"1h\"");
    let gateway = RunningService::start("gateway", behind.folder.path(), &config).await;
    let identity = behind.daemon.log().await.identity();
    let follower = follow(&gateway, identity);
    soon(follower.ready()).await.unwrap();
    behind.daemon.kill().await;
    until("the follower is stale", async || follower.fresh().is_err()).await;
    let curl = Curl::to(&gateway.url);
    for path in ["/hsm/keys", "/hsm/head", "/log", "/head"] {
        assert_eq!(curl.get(path).await.status, 200, "{path}");
    }
}
