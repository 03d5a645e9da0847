//! Databases 0, 1 and 4 on a real Redis: what is stored comes back byte for byte, expires as told, and
//! damage beside it does not spoil it; publishers heal a flush and a restart.
#![expect(clippy::unwrap_used, reason = "a failed step should end the test here")]

use std::time::Duration;

use hsmd_chain::{
    cesr::{Digest, PublicKey},
    testing::SoftwareKey,
    time::Timestamp,
};
use hsmd_store::{Publication, Publisher};
use hsmd_tests::{RedisServer, until};
use tokio::sync::watch;

const FAR: &str = "2999-01-01T00:00:00.000Z";

fn key(seed: &str) -> PublicKey {
    *SoftwareKey::from_seed(seed).public_key()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[tokio::test]
async fn texts_come_back_byte_for_byte_and_purposes_are_apart() {
    let redis = RedisServer::start().await.unwrap();
    let store = redis.store().unwrap();
    let text = "{\"body\":{\"ü\":\"\\u0000\"}, \"signature\" : 1}";
    store.response_endorsements.publish(&key("a"), text, at(FAR)).await.unwrap();

    let found = store.response_endorsements.find(&key("a")).await.unwrap();
    assert_eq!(found.as_deref(), Some(text.as_bytes()));
    assert_eq!(store.response_endorsements.find(&key("b")).await.unwrap(), None);
    assert_eq!(store.access_endorsements.find(&key("a")).await.unwrap(), None);
}

#[tokio::test]
async fn an_endorsement_leaves_when_it_expires() {
    let redis = RedisServer::start().await.unwrap();
    let store = redis.store().unwrap();
    let past = at("2020-01-01T00:00:00.000Z");
    store.access_endorsements.publish(&key("a"), "{}", at(FAR)).await.unwrap();
    store.access_endorsements.publish(&key("a"), "{}", past).await.unwrap();
    assert_eq!(store.access_endorsements.find(&key("a")).await.unwrap(), None);
}

#[tokio::test]
async fn a_list_is_whole_and_survives_foreign_values() {
    let redis = RedisServer::start().await.unwrap();
    let store = redis.store().unwrap();
    let keys: Vec<_> = (0..1200).map(|n| key(&n.to_string())).collect();
    for key in &keys {
        store.access_endorsements.publish(key, "{}", at(FAR)).await.unwrap();
    }
    redis.command(&["RPUSH", "a-list", "x"]).await.unwrap();
    redis.command(&["SET", "not-json", "\u{fffd}{"]).await.unwrap();

    let list = store.access_endorsements.list().await.unwrap();
    assert_eq!(list.len(), keys.len() + 1, "the list value is left out, the damaged text is not");
    assert!(keys.iter().all(|key| list.contains_key(key.as_str())));
    assert_eq!(
        store.access_endorsements.find(&keys[7]).await.unwrap().as_deref(),
        Some(&b"{}"[..])
    );
}

#[tokio::test]
async fn the_mirror_knows_what_it_lacks() {
    let redis = RedisServer::start().await.unwrap();
    let mirror = redis.store().unwrap().mirrored_log;
    let events: Vec<_> =
        (0..1100).map(|n: u32| (Digest::of(&n.to_be_bytes()), format!("event {n}"))).collect();
    let ids: Vec<_> = events.iter().map(|(id, _)| *id).collect();

    assert!(!mirror.holds_all(&ids).await.unwrap());
    mirror.store(&events[..1099]).await.unwrap();
    assert!(!mirror.holds_all(&ids).await.unwrap());
    mirror.store(&events).await.unwrap();
    assert!(mirror.holds_all(&ids).await.unwrap());
    assert_eq!(mirror.find(&ids[3]).await.unwrap().as_deref(), Some(&b"event 3"[..]));
    redis.flush().await.unwrap();
    assert!(!mirror.holds_all(&ids).await.unwrap());
}

#[tokio::test]
async fn a_publisher_heals_flush_outage_and_damage_and_follows_updates() {
    let mut redis = RedisServer::start().await.unwrap();
    let endorsements = redis.store().unwrap().response_endorsements;
    let (updates, receiver) = watch::channel(None);
    let publication = |text: &String| Publication {
        key: key("a"),
        endorsement: text.clone(),
        expires_at: at(FAR),
    };
    let period = Duration::from_millis(20);
    let publisher = Publisher::spawn(endorsements.clone(), receiver, publication, period);
    assert!(!publisher.is_published(), "nothing to publish yet");

    updates.send_replace(Some("one".to_owned()));
    until("it is published", async || publisher.is_published()).await;
    assert_eq!(endorsements.find(&key("a")).await.unwrap().as_deref(), Some(&b"one"[..]));

    updates.send_replace(Some("two".to_owned()));
    is_published(&endorsements, "two").await;

    redis.flush().await.unwrap();
    is_published(&endorsements, "two").await;

    endorsements.publish(&key("a"), "damage", at(FAR)).await.unwrap();
    is_published(&endorsements, "two").await;

    redis.kill().await.unwrap();
    until("it is not published", async || !publisher.is_published()).await;
    redis.restart().await.unwrap();
    is_published(&endorsements, "two").await;
    until("it is published", async || publisher.is_published()).await;

    updates.send_replace(None);
    until("it is not published", async || !publisher.is_published()).await;
}

async fn is_published(endorsements: &hsmd_store::Endorsements<hsmd_store::Response>, text: &str) {
    until("it is published", async || {
        let found = endorsements.find(&key("a")).await;
        found.ok().flatten().as_deref() == Some(text.as_bytes())
    })
    .await;
}
