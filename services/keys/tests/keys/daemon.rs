//! The keys service on a real hsmd, over gRPC: follows rotations and taints, and what happens to it
//! while the daemon is away.

use std::{collections::HashSet, time::Duration};

use hsmd_chain::{Anchor, Digest, KeyLog};
use hsmd_client::Clock;
use hsmd_keys::Keys;
use hsmd_service::{Hsm, config::HsmConfig, random};
use hsmd_tests::{RedisServer, RunningHsm, until};

use crate::support::{Answer, FAR, ask, start};

#[tokio::test]
async fn it_follows_the_daemon() {
    let mut daemon = RunningHsm::start().await;
    let redis = RedisServer::start().await.unwrap();
    let store = redis.store().unwrap();
    let config: HsmConfig = toml::from_str(&format!(
        "identity = \"{}\"\nendpoint = \"{}\"\nmax_staleness = \"11s\"",
        daemon.identity,
        daemon.endpoint()
    ))
    .unwrap();
    let hsm = Hsm::connect(&config).unwrap();
    let (address, _running) =
        start(Keys::new(hsm.log, store.clone(), Clock::system()).router()).await;
    let get = async |path: &str| ask(address, "GET", path, &[], String::new()).await;
    until("the service", async || get("/ready").await.status == 200).await;
    let anchor: Anchor = daemon.identity.parse().unwrap();
    assert_eq!(verified(&get("/hsm/keys").await, &anchor).events().len(), 1);

    let key = *random::key().public_key();
    let text = daemon.endorse("response", &key, Duration::from_secs(60)).await;
    store.response_endorsements.publish(&key, &text, FAR.parse().unwrap()).await.unwrap();
    assert_eq!(get(&format!("/keys/{key}")).await.text, text);

    daemon.daemon().rotate_head().await;
    daemon.daemon().taint_head().await;
    until("the taint", async || {
        let log = verified(&get("/hsm/keys").await, &anchor);
        log.events().len() == 3 && log.head().event().taint_previous()
    })
    .await;
    let head = verified(&get("/hsm/keys").await, &anchor).head().event().id();
    until("the mirror", async || store.mirrored_log.find(&head).await.unwrap().is_some()).await;

    daemon.kill().await;
    assert_eq!(get("/hsm/keys").await.status, 200, "one missed heartbeat says nothing");
    until("the log to be stale", async || get("/hsm/keys").await.status == 503).await;
    assert_eq!(get(&format!("/keys/{key}")).await.text, text);
    daemon.serve().await;
    until("the log again", async || get("/ready").await.status == 200).await;
    assert_eq!(verified(&get("/hsm/keys").await, &anchor).events().len(), 3);
}

/// Its log may be old: what it does not know may be an event that another replica has written.
#[tokio::test]
async fn a_replica_without_hsmd_removes_nothing_from_the_mirror() {
    let mut daemon = RunningHsm::start().await;
    let redis = RedisServer::start().await.unwrap();
    let store = redis.store().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log.json");
    let config: HsmConfig = toml::from_str(&format!(
        "identity = \"{}\"\nendpoint = \"{}\"\nlog_file = \"{}\"",
        daemon.identity,
        daemon.endpoint(),
        file.display()
    ))
    .unwrap();
    drop(Hsm::connect(&config).unwrap().log.ready().await.unwrap());
    until("its log is kept", async || file.exists()).await;
    daemon.kill().await;
    let unknown = "redis.call('SELECT', 4) redis.call('SET', 'unknown', 'x')";
    redis.command(&["EVAL", unknown, "0"]).await.unwrap();

    let hsm = Hsm::connect(&config).unwrap();
    let (_, _running) = start(Keys::new(hsm.log, store.clone(), Clock::system()).router()).await;
    let first: Digest = daemon.identity.parse().unwrap();
    until("the mirror", async || store.mirrored_log.find(&first).await.unwrap().is_some()).await;
    let others = store.mirrored_log.others(&HashSet::from([first]), 10).await.unwrap();
    assert_eq!(others, [b"unknown"]);
}

/// The served log, verified as any reader does.
fn verified(answer: &Answer, anchor: &Anchor) -> KeyLog {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let skew = Duration::from_secs(5);
    KeyLog::verify_json(answer.text.as_bytes(), anchor, Clock::system().now(), skew).unwrap()
}
