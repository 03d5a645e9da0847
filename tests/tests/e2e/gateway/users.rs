//! Who is not the service: other users of the machine, and web pages.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use hsmd_tests::{OtherUser, RunningService, until};
use tokio::net::UnixStream;

use super::Behind;
use super::curl::{Curl, after};
use crate::DOCUMENT;

/// Numbers of users that this machine does not have.
const SERVICE: u32 = 61_011;
const OTHER: u32 = 61_012;

#[tokio::test]
async fn only_the_configured_users_are_served() {
    let behind = Behind::start().await;
    let mut gateway =
        RunningService::start("gateway", behind.folder.path(), &behind.for_users(&[SERVICE])).await;
    std::fs::set_permissions(behind.folder.path(), Permissions::from_mode(0o755)).unwrap();
    let service = OtherUser::before(&behind.socket(), SERVICE, SERVICE).await;
    let other = OtherUser::before(&behind.socket(), OTHER, SERVICE).await;
    let expiration = after(600).to_string();
    let answer = Curl::by(&service.socket()).endorse(&expiration).await;
    answer.signed();
    // Another one with the same group, and who runs the gateway: root as well.
    for socket in [other.socket(), behind.socket()] {
        let curl = Curl::by(&socket);
        curl.endorse(&expiration).await.is_refused(403, "is not served here");
        for path in ["/hsm/keys", "/hsm/head", "/log", "/live"] {
            curl.get(path).await.is_refused(403, "is not served here");
        }
    }
    let other_user = format!("uid={OTHER}");
    until("the log names the other user", async || gateway.log().contains(&other_user)).await;
    // Another user writes few of its lines: ten a minute.
    let refusals = 30;
    for _ in 0..refusals {
        Curl::by(&other.socket()).get("/live").await.is_refused(403, "is not served here");
    }
    let lines = gateway.log().matches("not one of those served here").count();
    assert!(lines < refusals, "{lines}: {}", gateway.log());

    // The socket goes with it; what a dead process left is replaced, what lives is not.
    gateway.terminate();
    gateway.ended().await;
    assert!(!behind.socket().exists());
    let killed =
        RunningService::start("gateway", behind.folder.path(), &behind.for_users(&[SERVICE])).await;
    drop(killed);
    until("it is dead", async || UnixStream::connect(behind.socket()).await.is_err()).await;
    let config = behind.for_users(&[nix::unistd::getuid().as_raw()]);
    let _gateway = RunningService::start("gateway", behind.folder.path(), &config).await;
    assert_eq!(Curl::by(&behind.socket()).get("/live").await.status, 200);
}

#[tokio::test]
async fn web_pages_are_refused() {
    let behind = Behind::start().await;
    let gateway = RunningService::start("gateway", behind.folder.path(), &behind.loopback()).await;
    let curl = Curl::to(&gateway.url);
    let body = format!(r#"{{"payload":{DOCUMENT}}}"#);
    let json = "Content-Type: application/json";
    for (headers, status, words) in [
        // What a page sends with fetch, and its question before.
        (&["-H", json, "-H", "Origin: https://evil.example"][..], 403, "web pages"),
        (&["-X", "OPTIONS", "-H", "Origin: https://evil.example"], 403, "web pages"),
        // A form, a no-cors fetch, a sandboxed frame.
        (&["-H", "Content-Type: text/plain", "-H", "Origin: null"], 403, "web pages"),
        (&["-H", json, "-H", "Sec-Fetch-Site: cross-site"], 403, "web pages"),
        (&["-H", "Content-Type: text/plain"], 415, "application/json"),
        (&[], 415, "application/json"),
        // A name that leads here.
        (&["-H", json, "-H", "Host: evil.example"], 403, "Host"),
        (&["-H", json, "-H", "Host: localhost.evil.example:80"], 403, "Host"),
    ] {
        let answer = curl.send("/sign", headers, Some(&body)).await.unwrap();
        answer.is_refused(status, words);
    }
    for path in ["/hsm/keys", "/hsm/head", "/log", "/head", "/health"] {
        let page = ["-H", "Sec-Fetch-Site: cross-site", "-H", "Sec-Fetch-Mode: no-cors"];
        let origin = ["-H", "Origin: https://evil.example"];
        let rebound = ["-H", "Host: evil.example"];
        for (headers, words) in
            [(&page[..], "web pages"), (&origin, "web pages"), (&rebound, "Host")]
        {
            curl.send(path, headers, None).await.unwrap().is_refused(403, words);
        }
    }
    // Node's fetch.
    let node = ["-H", json, "-H", "Sec-Fetch-Mode: cors"];
    let answer = curl.send("/sign", &node, Some(&body)).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!answer.headers.contains("access-control"), "{answer:?}");
}

#[tokio::test]
async fn check_names_what_everything_on_the_machine_may_do() {
    let behind = Behind::start().await;
    let folder = behind.folder.path();
    let said = RunningService::check("gateway", folder, &behind.loopback()).await.good();
    assert!(said.contains("allow_loopback_tcp"), "{said}");
    let said = RunningService::check("gateway", folder, &behind.for_users(&[7])).await.good();
    assert!(said.contains("for the users [7]") && said.contains("verified"), "{said}");

    let batch = behind.loopback() + "batch = true\n";
    RunningService::check("gateway", folder, &batch)
        .await
        .refused("`batch` is not for the gateway");
    for (listen, words) in [
        ("address = \"127.0.0.1:0\"", "allow_loopback_tcp = true"),
        ("address = \"0.0.0.0:0\"\nallow_loopback_tcp = true", "no loopback address"),
        ("path = \"/nowhere/socket\"", "names no user"),
    ] {
        let said = RunningService::check("gateway", folder, &behind.config(listen)).await;
        said.ended(64, words);
    }
}
