//! Entity tags, cache headers, CORS, negotiation, and what is not there.

use hsmd_chain::testing::{LogBuilder, SoftwareKey};

use crate::support::{FAR, Service, at};

const NOW: &str = "2026-01-01T12:00:00.000Z";

#[tokio::test]
async fn an_unchanged_answer_is_304_and_a_changed_one_is_not() {
    let log = LogBuilder::of_length("keys", 2);
    let service = Service::start(&log, at(NOW)).await;
    let key = *SoftwareKey::from_seed("server").public_key();
    service.publish(&log, 1, &key, at(FAR)).await;
    for path in ["/hsm/keys", "/keys", &format!("/keys/{key}")] {
        let first = service.get(path).await;
        let tag = first.header("etag").to_owned();
        assert!(tag.starts_with("\"E"), "{tag}");
        assert_eq!(first.header("cache-control"), "no-cache", "{path}");
        for known in [tag.clone(), format!("\"other\", W/{tag}"), "*".to_owned()] {
            let again = service.ask("GET", path, &[("if-none-match", &known)]).await;
            assert_eq!((again.status, again.text.as_str()), (304, ""), "{path} {known}");
            assert_eq!(again.header("etag"), tag);
            assert_eq!(again.header("access-control-allow-origin"), "*");
        }
        assert_eq!(service.ask("GET", path, &[("if-none-match", "\"other\"")]).await.status, 200);
    }
    let tag = service.get("/hsm/keys").await.header("etag").to_owned();
    service.source.publish(&log.taint());
    service.until("/hsm/keys", |answer| answer.header("etag") != tag).await;
    assert_eq!(service.ask("GET", "/hsm/keys", &[("if-none-match", &tag)]).await.status, 200);
}

#[tokio::test]
async fn everything_may_be_read_from_anywhere() {
    let log = LogBuilder::of_length("keys", 2);
    let service = Service::start(&log, at(NOW)).await;
    for path in ["/", "/hsm/keys", "/keys", "/keys/x", "/health", "/live", "/ready", "/nothing"] {
        let answer = service.get(path).await;
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        let asked = [("origin", "https://a.example"), ("access-control-request-method", "GET")];
        let answer = service.ask("OPTIONS", path, &asked).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert!(answer.header("access-control-allow-methods").contains("GET"));
    }
    assert_eq!(service.get("/nothing").await.status, 404);
    assert_eq!(service.ask("POST", "/keys", &[]).await.status, 405);
    assert_eq!(service.ask("HEAD", "/hsm/keys", &[]).await.text, "");
}

#[tokio::test]
async fn the_root_is_a_page_for_browsers_and_json_for_programs() {
    let log = LogBuilder::of_length("keys", 2);
    let service = Service::start(&log, at(NOW)).await;
    let json = service.ask("GET", "/", &[("accept", "*/*")]).await;
    assert_eq!(json.header("content-type"), "application/json");
    assert!(json.text.contains("\"/hsm/keys\""));
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let html = service.ask("GET", "/", &[("accept", accept)]).await;
    assert_eq!(html.header("content-type"), "text/html; charset=utf-8");
    for answer in [json, html] {
        assert_eq!(answer.header("vary"), "Accept");
    }
}
