//! `/keys` and `/keys/{key}`: stored texts byte for byte, and damage that spoils nothing else.

use hsmd_chain::{PublicKey, testing::LogBuilder, testing::SoftwareKey};

use crate::support::{FAR, Service, at};

const NOW: &str = "2026-01-01T12:00:00.000Z";

fn key(seed: &str) -> PublicKey {
    *SoftwareKey::from_seed(seed).public_key()
}

#[tokio::test]
async fn stored_texts_are_passed_on_byte_for_byte() {
    let log = LogBuilder::of_length("keys", 2);
    let service = Service::start(&log, at(NOW)).await;
    assert_eq!(service.get("/keys").await.text, "{}");
    let one = service.publish(&log, 1, &key("one"), at(FAR)).await;
    // Blanks around the outer members are nobody's business.
    let two =
        log.endorse(0, "response", &key("two"), at(FAR)).to_json().replace(",\"sig", " ,\n\"sig");
    service.store.response_endorsements.publish(&key("two"), &two, at(FAR)).await.unwrap();

    assert_eq!(service.get(&format!("/keys/{}", key("one"))).await.text, one);
    assert_eq!(service.get(&format!("/keys/{}", key("two"))).await.text, two);
    let mut members = [(key("one"), one), (key("two"), two)];
    members.sort_by_key(|(key, _)| key.as_str().to_owned());
    let [(first, a), (second, b)] = members;
    assert_eq!(service.get("/keys").await.text, format!("{{\"{first}\":{a},\"{second}\":{b}}}"));
}

#[tokio::test]
async fn what_a_tainted_generation_endorsed_is_left_out() {
    let log = LogBuilder::of_length("keys", 3);
    let service = Service::start(&log, at(NOW)).await;
    let old = service.publish(&log, 1, &key("old"), at(FAR)).await;
    let stolen = service.publish(&log, 2, &key("stolen"), at(FAR)).await;
    let both = service.get("/keys").await.text;
    assert!(both.contains(&old) && both.contains(&stolen), "{both}");
    let log = log.taint();
    service.source.publish(&log);
    let new = service.publish(&log, 3, &key("new"), at(FAR)).await;
    let mut left = [(key("old"), old), (key("new"), new)];
    left.sort_by_key(|(key, _)| key.as_str().to_owned());
    let [(first, a), (second, b)] = left;
    let list = format!("{{\"{first}\":{a},\"{second}\":{b}}}");
    service.until("/keys", |answer| answer.text == list).await;
    // Whoever asks for the key gets the text, whose reader finds the taint in the log.
    assert_eq!(service.get(&format!("/keys/{}", key("stolen"))).await.text, stolen);
}

#[tokio::test]
async fn one_damaged_value_spoils_nothing() {
    let log = LogBuilder::of_length("keys", 2);
    let service = Service::start(&log, at(NOW)).await;
    let good = service.publish(&log, 1, &key("good"), at(FAR)).await;
    let damage = ["", "{", "null", "\"text\"", "{}", "[1]", &good[1..], &format!("{good}}}")];
    for (number, value) in damage.iter().enumerate() {
        service.redis(1, &["SET", key(&number.to_string()).as_str(), value]).await;
    }
    service.redis(1, &["SET", key("another's").as_str(), &good]).await;
    service.redis(1, &["SET", "not-a-key", &good]).await;
    service.redis(1, &["RPUSH", key("list").as_str(), &good]).await;
    let binary = "redis.call('SELECT', 1) redis.call('SET', '\\255\\254', '\\255')";
    service.redis.command(&["EVAL", binary, "0"]).await.unwrap();

    let answer = service.get("/keys").await;
    assert_eq!(answer.text, format!("{{\"{}\":{good}}}", key("good")));
    for damaged in ["0", "3", "another's", "list"] {
        assert_eq!(service.get(&format!("/keys/{}", key(damaged))).await.status, 404, "{damaged}");
    }
}

#[tokio::test]
async fn an_unknown_key_is_not_found() {
    let log = LogBuilder::of_length("keys", 2);
    let service = Service::start(&log, at(NOW)).await;
    let unknown = key("unknown");
    let answer = service.get(&format!("/keys/{unknown}")).await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.text, format!(r#"{{"error":"Key not found","identity":"{unknown}"}}"#));
    let answer = service.get("/keys/a%22b%3Cscript%3E").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.text, r#"{"error":"Key not found","identity":"a\"b<script>"}"#);
    assert_eq!(answer.headers["content-type"], "application/json");
}

#[tokio::test]
async fn a_fleet_of_a_thousand_keys_is_listed() {
    let log = LogBuilder::of_length("keys", 2);
    let service = Service::start(&log, at(NOW)).await;
    for number in 0..1000 {
        service.publish(&log, 1, &key(&number.to_string()), at(FAR)).await;
    }
    let list: serde_json::Value = serde_json::from_str(&service.get("/keys").await.text).unwrap();
    assert_eq!(list.as_object().unwrap().len(), 1000);
}
