//! The page in Chromium: what it looks like, and what its button says of true and false logs.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::IntoResponse,
};
use hsmd_chain::{
    EndorsementPayload, PublicKey, Timestamp, testing::LogBuilder, testing::SoftwareKey,
};
use hsmd_client::Clock;
use serde_json::Value;

use crate::{
    support::{Service, start},
    webdriver::Browser,
};

/// A log that ends shortly before now: rotated, tainted, rotated again.
pub(crate) fn log(now: Timestamp) -> LogBuilder {
    let ago = |hours: u64| now.checked_sub(Duration::from_secs(hours * 3600 - 600)).unwrap();
    LogBuilder::new("browser")
        .append(ago(700), false)
        .append(ago(400), false)
        .append(ago(90), true)
        .append(ago(20), false)
        .append(ago(7), true)
        .append(ago(3), false)
}

pub(crate) async fn service(now: Timestamp, log: &LogBuilder) -> Service {
    let service = Service::start(log, now).await;
    for (generation, name, minutes) in [(6, "app", 700), (6, "auth 1", 650), (5, "auth 2", 35)] {
        let key = *SoftwareKey::from_seed(name).public_key();
        let until = now.saturating_add(Duration::from_secs(minutes * 60));
        service.publish(log, generation, &key, until).await;
        let access = log.endorse(generation, "access", &key, until).to_json();
        service.store.access_endorsements.publish(&key, &access, until).await.unwrap();
    }
    service
}

/// The service with another answer for `/hsm/keys`, as from somebody in between.
fn tampered(service: &Service, answer: String) -> Router {
    answering(service, "/hsm/keys", answer)
}

/// The service with another answer at a path.
pub(crate) fn answering(service: &Service, path: &'static str, answer: String) -> Router {
    let answer = Arc::new(answer);
    let intercept = move |request: Request, next: Next| {
        let answer = Arc::clone(&answer);
        async move {
            if request.uri().path() == path {
                String::clone(&answer).into_response()
            } else {
                next.run(request).await
            }
        }
    };
    service.router.clone().layer(middleware::from_fn(intercept))
}

/// Types what is expected.
pub(crate) async fn expects(browser: &Browser, anchor: &str) {
    browser.evaluate(&format!("document.getElementById('identity').value = '{anchor}'")).await;
}

/// Presses the button and waits for the verdict: its kind and its sentence.
pub(crate) async fn verdict(browser: &Browser) -> (String, String) {
    browser.click("#verify button").await;
    let kind = "document.querySelector('output').dataset.verdict";
    browser.until(&format!("['valid', 'invalid', 'unable'].includes({kind})")).await;
    let text = |value: Value| value.as_str().unwrap().to_owned();
    (
        text(browser.evaluate(kind).await),
        text(browser.evaluate("document.querySelector('output').textContent").await),
    )
}

#[tokio::test]
async fn a_true_log_is_found_valid() {
    let now = Clock::system().now();
    let log = log(now);
    let service = service(now, &log).await;
    let browser = Browser::start(true).await;
    browser.open(&format!("http://{}/", service.address)).await;
    browser.prefer("light").await;
    browser.picture("light").await;

    // Nothing is prefilled: what is expected has to come from elsewhere.
    assert_eq!(browser.evaluate("document.getElementById('identity').value").await, "");
    expects(&browser, log.identity().as_str()).await;
    let (kind, sentence) = verdict(&browser).await;
    assert_eq!(kind, "valid", "{sentence}");
    assert!(sentence.starts_with("Valid. All 7 events were verified"), "{sentence}");
    assert!(sentence.contains("the endorsements of 3 response keys"), "{sentence}");
    assert!(sentence.contains(log.head().event().id().as_str()));
    assert!(sentence.contains("the newest event as its key stated"), "{sentence}");
    let marked = browser.evaluate("document.querySelectorAll('li.verified').length").await;
    assert_eq!(marked, 7);
    assert_eq!(browser.evaluate("document.querySelectorAll('tr.verified').length").await, 3);
    browser.picture("valid").await;

    browser.prefer("dark").await;
    browser.open(&format!("http://{}/?window=0s", service.address)).await;
    browser.click("details summary").await;
    browser.picture("dark").await;

    let (identity, head) = (log.identity(), log.id(4));
    for (anchor, kind, expected) in [
        (format!("{identity}@4:{head}"), "valid", "Valid. All 7 events"),
        (
            format!("{identity}@3:{head}"),
            "invalid",
            "Event 3 is refused (log: event 3 is not the known one)",
        ),
        (
            format!("{identity}@7:{head}"),
            "invalid",
            "The log is refused (log: ends before the known event 7)",
        ),
        (format!("{identity}@04:{head}"), "unable", "neither an identity"),
        ("E".to_owned(), "unable", "neither an identity"),
    ] {
        expects(&browser, &anchor).await;
        let (found, sentence) = verdict(&browser).await;
        assert_eq!(found, kind, "{anchor}: {sentence}");
        assert!(sentence.contains(expected), "{anchor}: {sentence}");
    }
    expects(&browser, &format!("E{}", "A".repeat(43))).await;
    let (kind, sentence) = verdict(&browser).await;
    assert_eq!(kind, "invalid");
    assert!(sentence.contains("Event 0 is refused (log: another identity)"), "{sentence}");
    assert_eq!(browser.complaints().await, Vec::<Value>::new());
    browser.quit().await;
}

#[tokio::test]
async fn a_tampered_log_is_found_out() {
    let now = Clock::system().now();
    let log = log(now);
    let service = service(now, &log).await;
    let browser = Browser::start(true).await;
    let json = log.to_json();
    let signature = log.events()[2].signature().as_str();
    let other_signature = log.events()[1].signature().as_str();
    let future = now.saturating_add(Duration::from_secs(3600));
    let elements: Vec<String> = log.events().iter().map(|event| event.to_json()).collect();
    let without = |number: usize| {
        let kept: Vec<_> = elements.iter().enumerate().filter(|(n, _)| *n != number).collect();
        let kept: Vec<&str> = kept.into_iter().map(|(_, element)| element.as_str()).collect();
        format!("[{}]", kept.join(","))
    };
    for (name, answer, expected) in [
        (
            "signature",
            json.replace(signature, other_signature),
            "Event 2 is refused (signature: not made by",
        ),
        (
            "untainted",
            json.replacen("\"taintPrevious\":true,", "", 1),
            "Event 3 is refused (event: id is not",
        ),
        ("gap", without(4), "Event 4 is refused (log: order of sequence numbers)"),
        ("shortened", without(6), "The log is refused (it lacks the head of this page)"),
        ("stolen", log.stolen_at(5, "thief").append(now, false).to_json(), "it lacks the head"),
        (
            "blank",
            json.replacen("\":1,", "\": 1,", 1),
            "Event 1 is refused (event: not in canonical form)",
        ),
        (
            "exponent",
            json.replacen("\":1,", "\":1e0,", 1),
            "Event 1 is refused (event: sequenceNumber: no integer",
        ),
        (
            "double",
            json.replacen("{\"id\"", "{\"id\":\"\",\"id\"", 1),
            "The log is refused (JSON: duplicate name)",
        ),
        (
            "future",
            log.clone().append(future, false).to_json(),
            "Event 7 is refused (log: an event from the future)",
        ),
        (
            "other",
            LogBuilder::of_length("other", 7).to_json(),
            "Event 0 is refused (log: another identity)",
        ),
        ("empty", "[]".to_owned(), "The log is refused (log: empty)"),
        ("garbage", "[{".to_owned(), "The log is refused (JSON: "),
        ("tail", format!("{json}x"), "The log is refused (JSON: something follows"),
    ] {
        let (address, _running) = start(tampered(&service, answer)).await;
        browser.open(&format!("http://{address}/")).await;
        expects(&browser, log.identity().as_str()).await;
        let (kind, sentence) = verdict(&browser).await;
        assert_eq!(kind, "invalid", "{name}: {sentence}");
        assert!(sentence.contains(expected), "{name}: {sentence}");
        if name == "untainted" {
            browser.picture("tampered").await;
        }
    }
    assert_eq!(browser.complaints().await, Vec::<Value>::new());
    browser.quit().await;
}

/// The golden cases of chain/tests: each is refused for its own reason or found valid, if for the
/// head that it lacks.
#[tokio::test]
async fn a_key_is_revealed_once() {
    let now = Clock::system().now();
    let log = log(now);
    let service = service(now, &log).await;
    let browser = Browser::start(true).await;
    let golden = include_str!("../../../../chain/tests/revealed_keys.json");
    let golden: Value = serde_json::from_str(golden).unwrap();
    for case in golden["cases"].as_array().unwrap() {
        let text = |member: &str| case[member].as_str().unwrap();
        let (address, _running) = start(tampered(&service, text("log").to_owned())).await;
        browser.open(&format!("http://{address}/")).await;
        let identity = text("identity");
        expects(&browser, identity).await;
        let (kind, sentence) = verdict(&browser).await;
        let expected = if case["accept"] == true {
            "The log is refused (it lacks the head of this page)".to_owned()
        } else if let Some(earlier) = case["revealedBy"].as_u64() {
            format!(
                "Event {} is refused (log: the key was revealed before, by event {earlier})",
                case["position"]
            )
        } else {
            format!("Event {} is refused (event: commits to its own key)", case["position"])
        };
        assert_eq!(kind, "invalid", "{}: {sentence}", text("name"));
        assert!(sentence.contains(&expected), "{}: {sentence}", text("name"));
    }
    assert_eq!(browser.complaints().await, Vec::<Value>::new());
    browser.quit().await;
}

/// Endorsements in a batch: verified here one by one; each changed part is found out.
#[tokio::test]
async fn batched_endorsements_are_verified() {
    let now = Clock::system().now();
    let log = log(now);
    let service = Service::start(&log, now).await;
    let until = now.saturating_add(Duration::from_secs(600 * 60));
    let keys: Vec<PublicKey> =
        (0..5).map(|n| *SoftwareKey::from_seed(&format!("server {n}")).public_key()).collect();
    let endorse = |key: &PublicKey| EndorsementPayload::new("response", *key, until).unwrap();
    let payloads: Vec<String> = keys.iter().map(|key| endorse(key).text()).collect();
    let items = log.batch(6, &payloads);
    for (key, item) in keys.iter().zip(&items) {
        let text = item.to_json();
        service.store.response_endorsements.publish(key, &text, until).await.unwrap();
    }
    let browser = Browser::start(true).await;
    browser.open(&format!("http://{}/", service.address)).await;
    expects(&browser, log.identity().as_str()).await;
    let (kind, sentence) = verdict(&browser).await;
    assert_eq!(kind, "valid", "{sentence}");
    assert!(sentence.contains("the endorsements of 5 response keys"), "{sentence}");
    assert_eq!(browser.evaluate("document.querySelectorAll('tr.verified').length").await, 5);
    browser.picture("batch").await;

    let listing = |text: &str| format!(r#"{{"{}":{text}}}"#, keys[4]);
    let last = items[4].to_json();
    let (first_hash, other) = (items[4].path()[0].as_str(), items[0].path()[0].as_str());
    let stolen = log.batch(5, &payloads).remove(4).to_json();
    let tainted = log.batch(2, &payloads).remove(4).to_json();
    let longer = format!(r#""path":["{first_hash}","{other}"]"#);
    let path = format!(r#""path":["{first_hash}"]"#);
    for (name, text, expected) in [
        ("signature", last.replace(signature(&last), signature(&stolen)), "signature: not made by"),
        ("tainted", tainted, "generation: tainted"),
        ("path", last.replace(first_hash, other), "the path leads to another root"),
        ("too short", last.replace(&path, r#""path":[]"#), "the path is too short"),
        ("too long", last.replace(&path, &longer), "the path is too long"),
        ("index", last.replace(r#""index":4"#, r#""index":5"#), "index outside the tree"),
        ("float", last.replace(r#""index":4"#, r#""index":4.0"#), "batched: index: no integer"),
        ("blank", last.replace(r#""index":4"#, r#""index": 4"#), "not in canonical form"),
        ("another key", items[3].to_json(), "endorsement: of another key"),
    ] {
        let (address, _running) = start(answering(&service, "/keys", listing(&text))).await;
        browser.open(&format!("http://{address}/")).await;
        expects(&browser, log.identity().as_str()).await;
        let (kind, sentence) = verdict(&browser).await;
        assert_eq!(kind, "invalid", "{name}: {sentence}");
        assert!(sentence.contains(expected), "{name}: {sentence}");
    }
    assert_eq!(browser.complaints().await, Vec::<Value>::new());
    browser.quit().await;
}

/// The last signature of a text.
fn signature(text: &str) -> &str {
    let (_, rest) = text.rsplit_once(r#""signature":""#).unwrap();
    &rest[..88]
}

#[tokio::test]
async fn without_scripts_everything_but_the_button_is_there() {
    let now = Clock::system().now();
    let log = log(now);
    let service = service(now, &log).await;
    let browser = Browser::start(false).await;
    browser.open(&format!("http://{}/", service.address)).await;
    browser.picture("without-scripts").await;
    browser.quit().await;
    let page = service.ask("GET", "/", &[("accept", "text/html")]).await.text;
    assert!(page.contains("<form hidden>"), "a script shows the button");
    assert!(page.contains("<noscript>"));
    for event in log.events() {
        assert!(page.contains(event.event().id().as_str()));
    }
}
