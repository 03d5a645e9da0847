//! Databases 2 and 3 on a real Redis: a copy that lost something never looks complete, whatever
//! happens while it is refilled.

use std::time::Duration;

use hsmd_chain::cesr::{Digest, Nonce};
use hsmd_store::DeviceStatus;
use hsmd_tests::RedisServer;

const KEEP: Duration = Duration::from_secs(900);

fn device(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn attempt(number: u8) -> Nonce {
    Nonce::from_bytes([number; 16])
}

#[tokio::test]
async fn without_its_marker_the_copy_knows_only_who_is_revoked() {
    let redis = RedisServer::start().await.unwrap();
    let revoked = redis.store().unwrap().revoked_devices;
    revoked.revoke(&device("bad"), KEEP).await.unwrap();
    assert!(!revoked.is_complete().await.unwrap());
    assert_eq!(revoked.status(&device("bad")).await.unwrap(), DeviceStatus::Revoked);
    assert_eq!(revoked.status(&device("good")).await.unwrap(), DeviceStatus::Unknown);

    let refill = revoked.begin_refill(&attempt(1)).await.unwrap();
    assert!(refill.finish(&[(device("old"), KEEP)]).await.unwrap());
    for (name, status) in [
        ("bad", DeviceStatus::Revoked),
        ("old", DeviceStatus::Revoked),
        ("good", DeviceStatus::Active),
    ] {
        assert_eq!(revoked.status(&device(name)).await.unwrap(), status, "{name}");
    }
}

#[tokio::test]
async fn a_flush_leaves_it_incomplete() {
    let redis = RedisServer::start().await.unwrap();
    let revoked = redis.store().unwrap().revoked_devices;
    assert!(revoked.begin_refill(&attempt(1)).await.unwrap().finish(&[]).await.unwrap());
    assert_eq!(revoked.status(&device("good")).await.unwrap(), DeviceStatus::Active);
    redis.flush().await.unwrap();
    assert_eq!(revoked.status(&device("good")).await.unwrap(), DeviceStatus::Unknown);
}

#[tokio::test]
async fn a_flush_during_a_refill_voids_the_refill() {
    let redis = RedisServer::start().await.unwrap();
    let revoked = redis.store().unwrap().revoked_devices;
    let refill = revoked.begin_refill(&attempt(1)).await.unwrap();
    // Revoked after the refill read Postgres, and lost by the flush: the refill does not know it.
    revoked.revoke(&device("bad"), KEEP).await.unwrap();
    redis.flush().await.unwrap();
    assert!(!refill.finish(&[]).await.unwrap());
    assert!(!revoked.is_complete().await.unwrap());
}

#[tokio::test]
async fn a_snapshot_of_a_complete_copy_is_not_complete_after_a_restart() {
    let mut redis = RedisServer::start().await.unwrap();
    let revoked = redis.store().unwrap().revoked_devices;
    assert!(revoked.begin_refill(&attempt(1)).await.unwrap().finish(&[]).await.unwrap());
    let begun = revoked.begin_refill(&attempt(2)).await.unwrap();
    redis.save().await.unwrap();
    revoked.revoke(&device("bad"), KEEP).await.unwrap();

    redis.restart().await.unwrap();
    let loaded = "redis.call('SELECT', 3)
        if redis.call('EXISTS', 'complete') == 0 then return redis.error_reply('no marker') end";
    redis.command(&["EVAL", loaded, "0"]).await.expect("the snapshot was loaded");
    assert_eq!(
        revoked.status(&device("bad")).await.unwrap(),
        DeviceStatus::Unknown,
        "the snapshot has the marker and not the revocation"
    );
    assert!(!begun.finish(&[]).await.unwrap(), "a refill does not outlive the process either");
    let refill = revoked.begin_refill(&attempt(3)).await.unwrap();
    assert!(refill.finish(&[(device("bad"), KEEP)]).await.unwrap());
    assert_eq!(revoked.status(&device("bad")).await.unwrap(), DeviceStatus::Revoked);
}

#[tokio::test]
async fn a_large_refill_is_whole() {
    let redis = RedisServer::start().await.unwrap();
    let used = redis.store().unwrap().used_hashes;
    let entries: Vec<_> = (0..2500_u32).map(|n| (Digest::of(&n.to_be_bytes()), KEEP)).collect();
    let refill = used.begin_refill(&attempt(1)).await.unwrap();
    assert!(refill.finish(&entries).await.unwrap());
    for (hash, _) in &entries {
        assert!(used.names(hash).await.unwrap());
    }
    assert!(!used.names(&device("unused")).await.unwrap());
    used.record(&device("unused"), KEEP).await.unwrap();
    assert!(used.names(&device("unused")).await.unwrap());
}

#[tokio::test]
async fn an_entry_leaves_with_its_time() {
    let redis = RedisServer::start().await.unwrap();
    let revoked = redis.store().unwrap().revoked_devices;
    assert!(revoked.begin_refill(&attempt(1)).await.unwrap().finish(&[]).await.unwrap());
    revoked.revoke(&device("bad"), Duration::from_millis(1)).await.unwrap();
    while revoked.status(&device("bad")).await.unwrap() != DeviceStatus::Active {
        tokio::task::yield_now().await;
    }
}
