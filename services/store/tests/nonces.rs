//! Database 5 on a real Redis: one use for each nonce, also across replicas, and no answer while an
//! earlier use may have been forgotten.
#![expect(clippy::unwrap_used, reason = "a failed step should end the test here")]

use std::time::{Duration, Instant};

use hsmd_chain::{cesr::Nonce, time::Timestamp};
use hsmd_store::{NonceUse, Nonces};
use hsmd_tests::{RedisServer, now, until};

const WINDOW: Duration = Duration::from_secs(30);
const SKEW: Duration = Duration::from_secs(2);

fn nonce(number: u8) -> Nonce {
    Nonce::from_bytes([number; 16])
}

async fn ready(nonces: &Nonces) {
    until("it remembers enough", async || nonces.remember_enough(SKEW).await.unwrap()).await;
}

async fn ask(nonces: &Nonces, number: u8, at: Timestamp, attempt: u8) -> NonceUse {
    nonces.use_once(&nonce(number), at, WINDOW, SKEW, &nonce(attempt)).await.unwrap()
}

#[tokio::test]
async fn a_nonce_is_fresh_once_for_all_replicas() {
    let redis = RedisServer::start().await.unwrap();
    let (one, two) = (redis.store().unwrap().nonces, redis.store().unwrap().nonces);
    ready(&one).await;
    let stamp = now();
    let mut asked = tokio::task::JoinSet::new();
    for attempt in 0..50 {
        let nonces = if attempt % 2 == 0 { one.clone() } else { two.clone() };
        asked.spawn(async move { ask(&nonces, 7, stamp, attempt).await });
    }
    let answers = asked.join_all().await;
    assert_eq!(answers.iter().filter(|&&answer| answer == NonceUse::Fresh).count(), 1);
    assert_eq!(answers.iter().filter(|&&answer| answer == NonceUse::Used).count(), 49);
    assert_eq!(ask(&two, 8, stamp, 1).await, NonceUse::Fresh);
    assert_eq!(ask(&one, 8, stamp, 1).await, NonceUse::Fresh, "the same attempt, repeated");
}

#[tokio::test]
async fn nobody_judges_requests_from_before_the_memory() {
    let redis = RedisServer::start().await.unwrap();
    let nonces = redis.store().unwrap().nonces;
    let began = Instant::now();
    assert!(!nonces.remember_enough(SKEW).await.unwrap());
    assert_eq!(ask(&nonces, 1, now(), 1).await, NonceUse::Unknown);
    ready(&nonces).await;
    assert!(began.elapsed() >= SKEW);
    assert_eq!(ask(&nonces, 1, now(), 1).await, NonceUse::Fresh);

    let stamp = now();
    assert_eq!(ask(&nonces, 2, stamp, 1).await, NonceUse::Fresh);
    redis.flush().await.unwrap();
    assert_eq!(ask(&nonces, 2, stamp, 2).await, NonceUse::Unknown, "forgotten, so not fresh");
    ready(&nonces).await;
    assert_eq!(ask(&nonces, 2, stamp, 2).await, NonceUse::Unknown, "and never again");
    assert_eq!(ask(&nonces, 3, now(), 1).await, NonceUse::Fresh);
}

#[tokio::test]
async fn an_old_snapshot_is_no_memory() {
    let mut redis = RedisServer::start().await.unwrap();
    let nonces = redis.store().unwrap().nonces;
    ready(&nonces).await;
    redis.save().await.unwrap();
    let stamp = now();
    assert_eq!(ask(&nonces, 1, stamp, 1).await, NonceUse::Fresh);
    redis.restart().await.unwrap();
    let loaded = "redis.call('SELECT', 5)
        if redis.call('EXISTS', 'since') == 0 then return redis.error_reply('no beginning') end";
    redis.command(&["EVAL", loaded, "0"]).await.expect("the snapshot was loaded");
    assert_eq!(ask(&nonces, 1, stamp, 2).await, NonceUse::Unknown);
}

#[tokio::test]
async fn a_stamp_far_ahead_is_not_judged() {
    let redis = RedisServer::start().await.unwrap();
    let nonces = redis.store().unwrap().nonces;
    ready(&nonces).await;
    let ahead = now().saturating_add(SKEW * 3);
    assert_eq!(ask(&nonces, 1, ahead, 1).await, NonceUse::Unknown);
}

#[tokio::test]
async fn a_beginning_in_the_future_is_not_believed() {
    let redis = RedisServer::start().await.unwrap();
    let nonces = redis.store().unwrap().nonces;
    ready(&nonces).await;
    let script = "redis.call('SELECT', 5)
        local run = string.match(redis.call('GET', 'since'), '^%w+')
        redis.call('SET', 'since', run .. ':99999999999999')";
    redis.command(&["EVAL", script, "0"]).await.unwrap();
    assert!(!nonces.remember_enough(SKEW).await.unwrap(), "it begins anew");
    ready(&nonces).await;
    assert_eq!(ask(&nonces, 1, now(), 1).await, NonceUse::Fresh);
}
