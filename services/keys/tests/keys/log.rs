//! `/hsm/keys` and the mirror: byte for byte, following, healing, and silent when the source is.

use std::{collections::HashSet, time::Duration};

use hsmd_chain::testing::LogBuilder;
use hsmd_tests::{RedisServer, until};

use crate::support::{Service, at};

const NOW: &str = "2026-01-01T12:00:00.000Z";

#[tokio::test]
async fn the_log_is_served_byte_for_byte_and_follows() {
    let log = LogBuilder::of_length("keys", 3);
    let service = Service::start(&log, at(NOW)).await;
    let answer = service.get("/hsm/keys").await;
    assert_eq!((answer.status, answer.text), (200, log.to_json()));
    assert_eq!(answer.headers["content-type"], "application/json");

    let longer = log.taint();
    service.source.publish(&longer);
    let text = longer.to_json();
    service.until("/hsm/keys", |answer| answer.text == text).await;
    let health = service.get("/health").await;
    assert!(health.text.contains(r#""status":"healthy""#), "{}", health.text);
    assert!(health.text.contains(r#""headSequenceNumber":3"#), "{}", health.text);
}

#[tokio::test]
async fn the_mirror_holds_every_event_and_heals() {
    let log = LogBuilder::of_length("mirror", 5).taint();
    let mut service = Service::start(&log, at(NOW)).await;
    until_mirrored(&service, &log).await;

    service.redis.flush().await.unwrap();
    until_mirrored(&service, &log).await;

    service.redis(4, &["DEL", log.id(2).as_str()]).await;
    until_mirrored(&service, &log).await;

    service.redis.restart().await.unwrap();
    until_mirrored(&service, &log).await;

    let longer = log.rotate();
    service.source.publish(&longer);
    until_mirrored(&service, &longer).await;
}

#[tokio::test]
async fn what_is_no_event_of_the_log_is_removed_from_the_mirror() {
    let redis = RedisServer::start().await.unwrap();
    let log = LogBuilder::of_length("mirror", 3);
    let foreign = LogBuilder::of_length("another identity", 3);
    let store = redis.store().unwrap();
    let events = foreign.events().iter().map(|event| (event.event().id(), event.to_json()));
    store.mirrored_log.store(&events.collect::<Vec<_>>()).await.unwrap();
    let junk = "redis.call('SELECT', 4) redis.call('SET', 'head', 'x') \
                redis.call('RPUSH', '\\255\\254', 'x') \
                for i = 1, 2500 do redis.call('SET', 'junk' .. i, 'x') end";
    redis.command(&["EVAL", junk, "0"]).await.unwrap();
    let service = Service::start_on(redis, &log, at(NOW)).await;
    until_mirrored(&service, &log).await;
    let known = HashSet::new();
    let all = async || service.store.mirrored_log.others(&known, 10_000).await.unwrap().len();
    until("nothing else is there", async || (all().await == log.events().len()).then_some(()))
        .await;
}

#[tokio::test]
async fn without_redis_the_log_is_served_and_the_service_is_not_ready() {
    let log = LogBuilder::of_length("redis down", 2);
    let mut service = Service::start(&log, at(NOW)).await;
    service.redis.kill().await.unwrap();
    let answer = service.until("/ready", |answer| answer.status == 503).await;
    assert!(answer.text.contains("Redis can't be reached"), "{}", answer.text);
    assert_eq!(service.get("/live").await.status, 200);
    assert_eq!(service.get("/hsm/keys").await.text, log.to_json());
    for path in ["/keys", &format!("/keys/{}", log.key(0).public_key())] {
        let answer = service.get(path).await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.text, r#"{"error":"the endorsed keys can't be read now"}"#);
    }
    service.redis.restart().await.unwrap();
    service.until_ready().await;
    assert_eq!(service.get("/keys").await.text, "{}");
}

#[tokio::test]
async fn a_log_without_contact_is_not_served() {
    let log = LogBuilder::of_length("stale", 2);
    let now = at(NOW);
    let service = Service::start_unready(&log, now, Duration::from_millis(300)).await;
    service.until_ready().await;
    // What the source says now does not verify, so nothing confirms the head any more.
    service.source.publish(&LogBuilder::of_length("another", 2));
    let answer = service.until("/hsm/keys", |answer| answer.status == 503).await;
    assert!(answer.text.starts_with(r#"{"error":"the key log "#), "{}", answer.text);
    assert_eq!(service.get("/health").await.status, 503);
}

async fn until_mirrored(service: &Service, log: &LogBuilder) {
    for event in log.events() {
        let wanted = event.to_json().into_bytes();
        let id = event.event().id();
        until("it is mirrored", async || service.mirrored(&id).await.as_deref() == Some(&wanted))
            .await;
    }
}

#[tokio::test]
async fn the_newest_head_statement_is_passed_on_while_it_is_new() {
    let log = LogBuilder::of_length("statement", 3);
    let service = Service::start(&log, at(NOW)).await;
    let answer = service.get("/hsm/head").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text, log.head_statement(at(NOW)).signed().to_json());
    assert_eq!(answer.headers["cache-control"], "no-cache");

    // A newer event: what its predecessor stated says nothing of it.
    service.source.freeze_head_at(&log, at(NOW));
    service.source.publish(&log.clone().taint());
    let answer = service.until("/hsm/head", |answer| answer.status == 503).await;
    assert!(answer.text.contains("no head statement that is new enough"), "{}", answer.text);
}
