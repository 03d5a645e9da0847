//! A Redis that is away, frozen, refusing or back again: errors are quick and say what is wrong, and
//! the first operation after the return succeeds.

use std::{process::Command, time::Duration};

use hsmd_chain::{
    cesr::{Digest, Nonce},
    testing::SoftwareKey,
};
use hsmd_store::{DeviceStatus, MirroredLog, Options, ServerKind, Store, StoreError};
use hsmd_tests::{RedisServer, soon, until};

fn id() -> Digest {
    Digest::of(b"x")
}

#[tokio::test]
async fn a_dead_redis_is_a_quick_error_and_a_living_one_is_used_at_once() {
    let mut redis = RedisServer::start().await.unwrap();
    let mirror = redis.store().unwrap().mirrored_log;
    assert_eq!(mirror.find(&id()).await.unwrap(), None);

    redis.kill().await.unwrap();
    for _ in 0..3 {
        // And no timeout: nobody waited for an answer.
        let error = mirror.find(&id()).await.unwrap_err();
        assert!(matches!(error, StoreError::Unreachable { database: 4, .. }), "{error:?}");
    }
    redis.restart().await.unwrap();
    assert_eq!(mirror.find(&id()).await.unwrap(), None, "no error is left over");
    redis.restart().await.unwrap();
    assert_eq!(
        mirror.find(&id()).await.unwrap(),
        None,
        "a restart between two questions is unseen"
    );
}

#[tokio::test]
async fn a_frozen_redis_is_a_timeout() {
    let redis = RedisServer::start().await.unwrap();
    let timeout = Duration::from_millis(500);
    let mirror = Store::open(&Options { timeout, ..redis.options() }).unwrap().mirrored_log;
    answers(&mirror).await;
    let signal = |name: &str| {
        let pid = redis.pid().unwrap().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    };
    signal("-STOP");
    for _ in 0..2 {
        let error = mirror.find(&id()).await.unwrap_err();
        assert!(matches!(error, StoreError::TimedOut { database: 4, .. }), "{error:?}");
    }
    signal("-CONT");
    answers(&mirror).await;
}

/// Asks again until there is an answer: on a loaded machine half a second may be too short.
async fn answers(mirror: &MirroredLog) {
    until("Redis answers", async || mirror.find(&id()).await.is_ok()).await;
}

#[tokio::test]
async fn a_refusal_is_told_from_an_outage_and_its_end_is_noticed() {
    let redis = RedisServer::start().await.unwrap();
    redis.command(&["CONFIG", "SET", "requirepass", "open"]).await.unwrap();
    let without = redis.store().unwrap().mirrored_log;
    let error = without.find(&id()).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");

    let password = Some("open".to_owned().into());
    let with = Store::open(&Options { password, ..redis.options() }).unwrap().mirrored_log;
    with.find(&id()).await.unwrap();
    with.store(&[(id(), "x".into())]).await.unwrap();
}

#[tokio::test]
async fn many_questions_share_one_connection_and_all_end_when_it_breaks() {
    let mut redis = RedisServer::start().await.unwrap();
    let mirror = redis.store().unwrap().mirrored_log;
    mirror.store(&[(id(), "x".into())]).await.unwrap();
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let mirror = mirror.clone();
        asked.spawn(async move { mirror.find(&id()).await.is_ok() });
    }
    assert!(asked.join_all().await.into_iter().all(|answered| answered));
    redis.kill().await.unwrap();
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let mirror = mirror.clone();
        asked.spawn(async move { mirror.find(&id()).await.is_err() });
    }
    // Each by itself would wait for its timeout: an hour and more in all.
    assert!(soon(asked.join_all()).await.into_iter().all(|failed| failed));
}

#[tokio::test]
async fn a_redis_that_may_evict_vouches_for_nothing() {
    let redis = RedisServer::start().await.unwrap();
    redis.command(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]).await.unwrap();
    let unbounded = redis.store().unwrap();
    assert!(!unbounded.revoked_devices.is_complete().await.unwrap(), "without a bound none goes");

    redis.command(&["CONFIG", "SET", "maxmemory", "100mb"]).await.unwrap();
    let store = redis.store().unwrap();
    let error = store.revoked_devices.is_complete().await.unwrap_err();
    assert!(error.to_string().contains("volatile-lru"), "{error}");
    let error = store.nonces.remember_enough(Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(error, StoreError::Evicting { database: 5, .. }), "{error:?}");
    assert_eq!(store.mirrored_log.find(&id()).await.unwrap(), None, "that heals by itself");

    redis.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await.unwrap();
    assert!(!store.revoked_devices.is_complete().await.unwrap());
}

/// What the examples' comments tell operators to allow.
const COMMANDS: &str = "+select +info +get +set +del +time +mget +mset +scan +exists +eval";

#[tokio::test]
async fn a_user_with_just_these_commands_is_enough() {
    let redis = RedisServer::start().await.unwrap();
    let mut rule = vec!["ACL", "SETUSER", "service", "on", ">secret", "~*", "-@all"];
    rule.extend(COMMANDS.split(' '));
    redis.command(&rule).await.unwrap();
    let username = Some("service".to_owned());
    let password = Some("secret".to_owned().into());
    let store = Store::open(&Options { username, password, ..redis.options() }).unwrap();

    let key = *SoftwareKey::from_seed("server").public_key();
    let far = "2999-01-01T00:00:00.000Z".parse().unwrap();
    store.access_endorsements.publish(&key, "{}", far).await.unwrap();
    assert_eq!(store.access_endorsements.list().await.unwrap().len(), 1);
    store.mirrored_log.store(&[(id(), "x".into())]).await.unwrap();
    assert!(store.mirrored_log.holds_all(&[id()]).await.unwrap());
    let refill = store.revoked_devices.begin_refill(&Nonce::from_bytes([1; 16])).await.unwrap();
    assert!(refill.finish(&[(id(), Duration::from_secs(9))]).await.unwrap());
    assert_eq!(store.revoked_devices.status(&id()).await.unwrap(), DeviceStatus::Revoked);
    assert!(!store.nonces.remember_enough(Duration::from_secs(5)).await.unwrap());

    let without = COMMANDS.replace(" +info", "");
    let mut rule = vec!["ACL", "SETUSER", "service", "-@all"];
    rule.extend(without.split(' '));
    redis.command(&rule).await.unwrap();
    let username = Some("service".to_owned());
    let password = Some("secret".to_owned().into());
    let store = Store::open(&Options { username, password, ..redis.options() }).unwrap();
    let error = store.mirrored_log.find(&id()).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
}

#[tokio::test]
async fn a_cluster_and_a_sentinel_are_named() {
    let cluster =
        RedisServer::start_with(&["--cluster-enabled".into(), "yes".into()]).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sentinel.conf");
    std::fs::write(&file, "").unwrap();
    let sentinel = RedisServer::start_sentinel(&file).await.unwrap();
    for (redis, kind, word) in [
        (cluster, ServerKind::Cluster, "Redis Cluster"),
        (sentinel, ServerKind::Sentinel, "Redis Sentinel"),
    ] {
        let store = redis.store().unwrap();
        for error in [
            store.mirrored_log.find(&id()).await.unwrap_err(),
            store.access_endorsements.list().await.unwrap_err(),
        ] {
            assert!(matches!(error, StoreError::Kind(found) if found == kind), "{error:?}");
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}

/// What keeps Redis from writing, and what ends that.
#[tokio::test]
async fn a_redis_that_takes_no_writes_vouches_for_nothing() {
    let redis = RedisServer::start().await.unwrap();
    let store = redis.store().unwrap();
    let skew = Duration::from_millis(1);
    for [setting, bad, good] in [["min-replicas-to-write", "1", "0"], ["maxmemory", "1", "0"]] {
        until("it remembers", async || {
            store.nonces.remember_enough(skew).await.ok()?.then_some(())
        })
        .await;
        store.revoked_devices.try_write().await.unwrap();
        redis.command(&["CONFIG", "SET", setting, bad]).await.unwrap();
        let error = store.nonces.remember_enough(skew).await.unwrap_err();
        assert!(matches!(error, StoreError::Refused { database: 5, .. }), "{setting}: {error:?}");
        let error = store.revoked_devices.try_write().await.unwrap_err();
        assert!(matches!(error, StoreError::Refused { database: 3, .. }), "{setting}: {error:?}");
        redis.command(&["CONFIG", "SET", setting, good]).await.unwrap();
    }
    redis.command(&["REPLICAOF", "127.0.0.1", "1"]).await.unwrap();
    until("a replica is refused", async || store.nonces.remember_enough(skew).await.err()).await;
    until("by both", async || store.revoked_devices.try_write().await.err()).await;
    redis.command(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    store.revoked_devices.try_write().await.unwrap();
    until("it remembers", async || store.nonces.remember_enough(skew).await.ok()?.then_some(()))
        .await;
}
