//! A service in a network namespace of its own, without gRPC: curl and the gateway.

use std::time::Duration;

use hsmd_chain::EndorsementPayload;
use hsmd_tests::{OwnNetwork, RunningService, now, until};

use super::Behind;
use super::curl::{Answer, Curl, after, key};
use crate::{DOCUMENT, WINDOW};

#[tokio::test]
async fn it_is_endorsed_and_verified_through_rotation_and_taint() {
    let behind = Behind::start().await;
    let network = OwnNetwork::make().await;
    let folder = behind.folder.path();
    let gateway =
        RunningService::start_within(&network, "gateway", folder, &behind.loopback()).await;
    let curl = Curl::within(&network, &gateway.url);
    until("the gateway is ready", async || curl.get("/ready").await.status == 200).await;
    let head = curl.get("/head").await.body;
    // Another test's server may have the same port out there.
    let outside = Curl::to(&gateway.url).send("/head", &[], None).await;
    assert!(outside.is_none_or(|answer| answer.body != head), "from outside");

    // Nine digits, as other systems write times.
    let asked = after(3600);
    let answer = curl.endorse(&asked.to_string().replace('Z', "999999Z")).await;
    let log = behind.daemon.log().await;
    let signed = answer.signed();
    let verified = signed.verify_endorsement(&log, "access", &key(), now(), Duration::ZERO);
    let expiration = verified.unwrap().expiration();
    assert!(expiration <= asked && expiration > after(3000), "{expiration} for {asked}");
    assert_eq!(curl.verify(&answer.body, "0s").await["valid"], true);

    behind.daemon.rotate_head().await;
    until("the rotation", async || curl.verify(&answer.body, "0s").await["valid"] == false).await;
    assert_eq!(curl.verify(&answer.body, "12h").await["valid"], true);
    let newer = curl.endorse(&after(60).to_string()).await;
    behind.daemon.taint_head().await;
    let judged = until("the taint", async || {
        let judged = curl.verify(&newer.body, "12h").await;
        (judged["valid"] == false).then_some(judged)
    })
    .await;
    assert!(judged["why"].as_str().unwrap().contains("tainted"), "{judged}");
    assert_eq!(curl.verify(&answer.body, "12h").await["valid"], true, "an earlier generation's");
    for (from, to) in [("access", "others"), ("1AAI", "1AAJ"), ("body", "bodies")] {
        let damaged = newer.body.replace(from, to);
        assert_eq!(curl.verify(&damaged, "12h").await["valid"], false, "{from}");
    }

    let log = behind.daemon.log().await;
    assert_eq!(curl.get("/log").await.body, log.to_json());
    assert_eq!(curl.get("/head").await.body, log.head().to_json());
    let health = curl.get("/health").await;
    assert!(health.status == 200 && health.body.contains("\"headSequenceNumber\":2"), "{health:?}");
}

#[tokio::test]
async fn documents_are_signed_byte_for_byte() {
    let behind = Behind::start().await;
    let gateway = RunningService::start("gateway", behind.folder.path(), &behind.loopback()).await;
    let curl = Curl::to(&gateway.url);
    until("the gateway is ready", async || curl.get("/ready").await.status == 200).await;
    let document = r#"{"purpose":"document","text":"ü \u00fc","n":1.50,"list":[{"b":1,"a":2e0}]}"#;
    let answer = curl.post("/sign", &format!("{{\"payload\": {document} }}")).await;
    assert_eq!(answer.signed().payload(), document);
    let log = behind.daemon.log().await;
    answer.signed().verify(&log, now(), WINDOW).unwrap();

    // What hsmd signs for no caller is not signed here either.
    for (body, words) in [
        (r#"{"payload":{"purpose":"other"}}"#, "PURPOSE_NOT_ALLOWED"),
        (r#"{"payload":{"purpose":"document","PublicKey":"x"}}"#, "MALFORMED_PAYLOAD"),
        (r#"{"payload":{"purpose":"document", "text":""}}"#, "MALFORMED_PAYLOAD"),
        (r#"{"payload":{"purpose":"document","publicKey":"x","expiration":"x","n":1}}"#, "unknown"),
        (r#"{"payload":["access","1AAI","2026-11-22T11:22:33Z"]}"#, "no object"),
        (r#"{"payload":{"purpose":"document"},"accept_batch":true}"#, "unknown field"),
        (r#"{"payload":{"purpose":"document"}"#, "EOF"),
        ("", "EOF"),
    ] {
        let answer = curl.post("/sign", body).await;
        assert!((400..500).contains(&answer.status), "{answer:?}");
        assert!(answer.body.contains(words), "{words} for {body}: {answer:?}");
    }
}

#[tokio::test]
async fn an_expiration_is_what_was_asked_for_or_a_clear_refusal() {
    let behind = Behind::start().await;
    let gateway = RunningService::start("gateway", behind.folder.path(), &behind.loopback()).await;
    let curl = Curl::to(&gateway.url);
    // As the device services' servers ask, whose callers may have 12 h here.
    let answer = curl.endorse(&after(12 * 3600 + 60).to_string()).await;
    answer.is_refused(403, "TTL_TOO_LONG");
    answer.is_refused(403, "max_ttl");
    for (text, words) in [
        (now().to_string(), "not more than a second ahead"),
        ("2026-11-22 11:22:33Z".to_owned(), "not of the form"),
        ("2026-11-22T11:22:33.0000000000Z".to_owned(), "not of the form"),
    ] {
        curl.endorse(&text).await.is_refused(400, words);
    }
    // Any number of digits, and an offset in place of Z.
    let asked = after(600).to_string();
    let (seconds, _) = asked.split_once('.').unwrap();
    let within = |answer: Answer| {
        let payload = EndorsementPayload::parse(answer.signed().payload()).unwrap();
        assert!(payload.expiration() <= after(600) && payload.expiration() > after(500));
    };
    for fraction in ["Z", ".1Z", ".12Z", ".123456Z", ".123456789Z", ".123+00:00", "+00:00"] {
        within(curl.endorse(&format!("{seconds}{fraction}")).await);
    }
    // Many at once, which hsmd would sign together: each in a body of its own.
    let (a, b, c, d) = tokio::join!(
        curl.endorse(&asked),
        curl.endorse(&asked),
        curl.endorse(&asked),
        curl.endorse(&asked)
    );
    [a, b, c, d].into_iter().for_each(within);
    // No call of an administrator, which would hide who acted.
    for path in ["/rotate", "/taint", "/status"] {
        assert_eq!(curl.post(path, "{}").await.status, 404, "{path}");
    }
    assert!(curl.post("/sign", &format!(r#"{{"payload":{DOCUMENT}}}"#)).await.status == 200);
}

#[tokio::test]
async fn a_log_that_is_stale_is_not_served() {
    let behind = Behind::start().await;
    let gateway = RunningService::start("gateway", behind.folder.path(), &behind.loopback()).await;
    let curl = Curl::to(&gateway.url);
    until("the gateway is ready", async || curl.get("/ready").await.status == 200).await;
    let endorsement = curl.endorse(&after(600).to_string()).await.body;
    behind.daemon.kill().await;
    until("it is stale", async || curl.get("/log").await.status == 503).await;
    for path in ["/head", "/hsm/keys", "/hsm/head", "/ready"] {
        assert_eq!(curl.get(path).await.status, 503, "{path}");
    }
    assert_eq!(curl.get("/live").await.status, 200);
    let asked =
        format!(r#"{{"endorsement":{endorsement},"purpose":"access","publicKey":"{}"}}"#, key());
    curl.post("/verify", &asked).await.is_refused(503, "stale");
}

#[tokio::test]
async fn what_another_identity_signs_is_not_handed_out() {
    let (behind, other) = tokio::join!(Behind::start(), Behind::start());
    let (own, another) =
        (behind.daemon.log().await.identity(), other.daemon.log().await.identity());
    let config = behind.loopback().replace(own.as_str(), another.as_str());
    let gateway = RunningService::start("gateway", behind.folder.path(), &config).await;
    let curl = Curl::to(&gateway.url);
    curl.endorse(&after(600).to_string()).await.is_refused(503, "stale");
    let document = format!(r#"{{"payload":{DOCUMENT}}}"#);
    curl.post("/sign", &document).await.is_refused(503, "stale");
}
