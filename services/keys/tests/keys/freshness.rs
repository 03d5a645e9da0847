//! What the page's button says of head statements, in Chromium.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::Request,
    middleware::{self, Next},
    response::IntoResponse,
};
use hsmd_chain::{Timestamp, testing::LogBuilder};
use hsmd_client::Clock;
use hsmd_tests::Head;

use crate::{
    browser::{answering, expects, log, service, verdict},
    support::start,
    webdriver::Browser,
};

fn stated(log: &LogBuilder, at: Timestamp) -> String {
    log.head_statement(at).signed().to_json()
}

#[tokio::test]
async fn a_statement_of_another_head_or_by_another_key_is_found_out() {
    let now = Clock::system().now();
    let log = log(now);
    let service = service(now, &log).await;
    let browser = Browser::start(true).await;
    let refused = "The head statement is refused";
    for (name, answer, expected) in [
        (
            "earlier",
            stated(&log.rewound_to(6), now),
            "(head: its generation is not the log's head)",
        ),
        ("thief", stated(&log.stolen_at(6, "thief").append(now, false), now), "(head: "),
        ("garbage", "{}".to_owned(), "("),
    ] {
        let (address, _running) = start(answering(&service, "/hsm/head", answer)).await;
        browser.open(&format!("http://{address}/")).await;
        expects(&browser, log.identity().as_str()).await;
        let (kind, sentence) = verdict(&browser).await;
        assert_eq!(kind, "invalid", "{name}: {sentence}");
        assert!(sentence.contains(refused) && sentence.contains(expected), "{name}: {sentence}");
    }
    browser.quit().await;
}

/// The log is as good as without a statement; perhaps only the browser's clock is off.
#[tokio::test]
async fn a_statement_of_another_time_shows_no_freshness() {
    let now = Clock::system().now();
    let log = log(now);
    let service = service(now, &log).await;
    let browser = Browser::start(true).await;
    let minutes = Duration::from_secs(120);
    for (at, expected) in [
        (now.checked_sub(minutes).unwrap(), "head: stale"),
        (now.saturating_add(minutes), "head: from the future"),
    ] {
        let (address, _running) = start(answering(&service, "/hsm/head", stated(&log, at))).await;
        browser.open(&format!("http://{address}/")).await;
        expects(&browser, log.identity().as_str()).await;
        let (kind, sentence) = verdict(&browser).await;
        assert_eq!(kind, "valid", "{sentence}");
        assert!(sentence.contains("does not show to be the newest event"), "{sentence}");
        assert!(sentence.contains(expected), "{sentence}");
    }
    browser.quit().await;
}

#[tokio::test]
async fn a_log_that_moves_while_it_is_verified_is_fetched_again() {
    let now = Clock::system().now();
    let log = log(now);
    let service = service(now, &log).await;
    // The first answer is from before the rotation, all others are from after it.
    let (before, first) = (log.to_json(), Arc::new(AtomicBool::new(true)));
    let intercept = move |request: Request, next: Next| {
        let (before, first) = (before.clone(), Arc::clone(&first));
        async move {
            if request.uri().path() == "/hsm/keys" && first.swap(false, Ordering::Relaxed) {
                before.into_response()
            } else {
                next.run(request).await
            }
        }
    };
    let router = service.router.clone().layer(middleware::from_fn(intercept));
    let (address, _running) = start(router).await;
    let browser = Browser::start(true).await;
    browser.open(&format!("http://{address}/")).await;
    expects(&browser, log.identity().as_str()).await;

    let rotated = log.append(now, false);
    service.source.publish(&rotated);
    // Only a later statement takes the place of the one that the service has.
    let second = Duration::from_secs(1);
    *service.source.keys.head.lock() = Head::At(now.saturating_add(second));
    let head = rotated.head().event().id();
    service.until("/hsm/head", |answer| answer.text.contains(head.as_str())).await;
    let (kind, sentence) = verdict(&browser).await;
    assert_eq!(kind, "valid", "{sentence}");
    assert!(sentence.starts_with("Valid. All 8 events were verified"), "{sentence}");
    assert!(sentence.contains("the newest event as its key stated"), "{sentence}");
    browser.quit().await;
}
