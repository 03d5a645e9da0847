//! The page as it leaves the server: complete without scripts, strict about what it loads.

use hsmd_chain::testing::{LogBuilder, SoftwareKey};

use crate::support::{FAR, Service, at};

/// Events at 00:00, 01:00, 02:00 (taints 1) and 03:00.
fn log() -> LogBuilder {
    LogBuilder::of_length("page", 2).taint().rotate()
}

async fn page(service: &Service, path: &str) -> String {
    let answer = service.ask("GET", path, &[("accept", "text/html")]).await;
    assert_eq!(answer.status, 200);
    answer.text
}

/// The class and text of a generation's entry.
fn generation(page: &str, number: u32) -> &str {
    let (before, after) = page.split_once(&format!("data-number=\"{number}\"")).unwrap();
    let begin = before.rfind("<li").unwrap();
    let end = before.len() + after.find("</li>").unwrap();
    &page[begin..end]
}

#[tokio::test]
async fn generations_are_what_they_are_at_the_chosen_look_back() {
    let service = Service::start(&log(), at("2026-01-01T10:00:00.000Z")).await;
    let at_12_hours = page(&service, "/").await;
    for (number, class, words) in [
        (0, "live", "live for another 3 hours"),
        (1, "tainted", "dead since"),
        (2, "live", "live for another 5 hours"),
        (3, "live", ">head<"),
    ] {
        let entry = generation(&at_12_hours, number);
        assert!(entry.starts_with(&format!("<li class=\"{class}\"")), "{entry}");
        assert!(entry.contains(words), "{entry}");
    }
    assert!(at_12_hours.contains("<dt>newest statement of its key</dt><dd>now</dd>"));
    let now = page(&service, "/?window=0s").await;
    assert!(generation(&now, 0).starts_with("<li class=\"past\""));
    assert!(generation(&now, 3).starts_with("<li class=\"live\""));
    let custom = page(&service, "/?window=7h30m").await;
    assert!(generation(&custom, 0).starts_with("<li class=\"past\""));
    assert!(generation(&custom, 2).starts_with("<li class=\"live\""));
    assert!(custom.contains("value=\"7h30m\""));
}

#[tokio::test]
async fn a_look_back_that_makes_no_sense_is_said_and_never_echoed_raw() {
    let service = Service::start(&log(), at("2026-01-01T10:00:00.000Z")).await;
    let nonsense = page(&service, "/?window=%22%3E%3Cscript%3Ealert(1)%3C/script%3E").await;
    assert!(nonsense.contains("not understood"));
    assert!(!nonsense.contains("alert(1)"));
    page(&service, "/?before=x&window").await;
}

#[tokio::test]
async fn only_keys_that_hold_are_shown() {
    let log = log();
    let service = Service::start(&log, at("2026-01-01T10:00:00.000Z")).await;
    let key = |seed: &str| *SoftwareKey::from_seed(seed).public_key();
    service.publish(&log, 3, &key("good"), at(FAR)).await;
    service.publish(&log, 0, &key("old generation"), at(FAR)).await;
    service.publish(&log, 1, &key("tainted"), at(FAR)).await;
    service.publish(&log, 3, &key("expired"), at("2026-01-01T09:00:00.000Z")).await;
    let text = page(&service, "/").await;
    for (seed, shown) in
        [("good", true), ("old generation", true), ("tainted", false), ("expired", false)]
    {
        assert_eq!(text.contains(key(seed).as_str()), shown, "{seed}");
    }
    assert!(text.contains("2 stored and not shown"));
    let now = page(&service, "/?window=0s").await;
    assert!(!now.contains(key("old generation").as_str()));
}

#[tokio::test]
async fn a_long_log_comes_in_pages() {
    let log = LogBuilder::of_length("long", 250);
    let service = Service::start(&log, log.head().event().created_at()).await;
    let first = page(&service, "/").await;
    assert_eq!(first.matches("data-number=").count(), 100);
    assert!(first.contains("data-number=\"249\"") && first.contains("&amp;before=150\""));
    let last = page(&service, "/?window=12h&before=50").await;
    assert_eq!(last.matches("data-number=").count(), 50);
    assert!(!last.contains("Older generations"));
}

#[tokio::test]
async fn the_page_is_strict_and_its_assets_last_for_ever() {
    let service = Service::start(&log(), at("2026-01-01T10:00:00.000Z")).await;
    let answer = service.ask("GET", "/", &[("accept", "text/html")]).await;
    let policy = answer.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe"));
    assert!(!answer.text.contains("style=") && !answer.text.contains("<style"));
    assert!(!answer.text.contains("//") || !answer.text.contains("http"), "nothing from elsewhere");

    let folder = answer.text.split("/assets/").nth(1).unwrap().split('/').next().unwrap();
    for (name, content_type) in [
        ("page.css", "text/css; charset=utf-8"),
        ("verify.js", "text/javascript; charset=utf-8"),
        ("vendor/noble-hashes/blake3.js", "text/javascript; charset=utf-8"),
        ("vendor/noble-hashes/LICENSE", "text/plain; charset=utf-8"),
    ] {
        let asset = service.get(&format!("/assets/{folder}/{name}")).await;
        assert_eq!((asset.status, asset.header("content-type")), (200, content_type));
        assert_eq!(asset.header("cache-control"), "public, max-age=31536000, immutable");
    }
    assert_eq!(service.get(&format!("/assets/{folder}/../Cargo.toml")).await.status, 404);
    assert_eq!(service.get("/assets/other/page.css").await.status, 404);
}

#[tokio::test]
async fn a_page_without_contact_says_so() {
    let log = log();
    let staleness = std::time::Duration::from_millis(200);
    let now = at("2026-01-01T10:00:00.000Z");
    let service = Service::start_unready(&log, now, staleness).await;
    service.until_ready().await;
    service.source.publish(&LogBuilder::new("another"));
    service.until("/ready", |answer| answer.status == 503).await;
    assert!(page(&service, "/").await.contains("Not to be relied on"));
}

#[test]
fn the_vendored_files_are_those_that_npm_had() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/vendor/noble-hashes");
    let mut check = std::process::Command::new("sha512sum");
    let output = check.args(["--check", "--strict", "SHA512SUMS"]).current_dir(folder).output();
    let output = output.unwrap();
    assert!(output.status.success(), "see assets/rebuild-vendor: {output:?}");
    assert_eq!(output.stdout.iter().filter(|&&byte| byte == b'\n').count(), 7);
}
