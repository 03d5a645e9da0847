//! The little of the WebDriver protocol that the page's test needs: JSON over HTTP to chromedriver.

use std::{net::SocketAddr, path::PathBuf, process::Stdio};

use hsmd_tests::until;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::support::ask;

/// Chromium for tests: headless, no background traffic.
const ARGUMENTS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--window-size=1000,1400",
];

/// A browser with one window. Its processes end with it.
pub(crate) struct Browser {
    address: SocketAddr,
    session: String,
    driver: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub(crate) async fn start(scripts: bool) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("chromedriver (Debian: chromium-driver)");
        let address = address(&mut driver).await;
        let folder = format!("--user-data-dir={}", profile.path().display());
        let mut arguments: Vec<&str> = ARGUMENTS.into_iter().chain([folder.as_str()]).collect();
        if !scripts {
            arguments.push("--blink-settings=scriptEnabled=false");
        }
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let value = call(address, "POST", "/session", capabilities).await;
        let session = value["sessionId"].as_str().expect("a session").to_owned();
        Self { address, session, driver, _profile: profile }
    }

    pub(crate) async fn open(&self, url: &str) {
        self.post("url", json!({ "url": url })).await;
    }

    /// The value of a JavaScript expression in the page.
    pub(crate) async fn evaluate(&self, expression: &str) -> Value {
        let script = format!("return {expression}");
        self.post("execute/sync", json!({"script": script, "args": []})).await
    }

    /// Clicks as a user does.
    pub(crate) async fn click(&self, selector: &str) {
        let found = self.post("element", json!({"using": "css selector", "value": selector})).await;
        let element = found.as_object().unwrap().values().next().unwrap().as_str().unwrap();
        self.post(&format!("element/{element}/click"), json!({})).await;
    }

    /// Waits until an expression is true.
    pub(crate) async fn until(&self, expression: &str) {
        until(expression, async || self.evaluate(expression).await == json!(true)).await;
    }

    /// Shows the page in the reader's dark or light.
    pub(crate) async fn prefer(&self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.developer("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Keeps a picture of the whole page among the test artefacts.
    pub(crate) async fn picture(&self, name: &str) {
        let parameters = json!({"format": "png", "captureBeyondViewport": true});
        let value = self.developer("Page.captureScreenshot", parameters).await;
        let picture = decode(value["data"].as_str().expect("a picture"));
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../test-artefacts");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("keys-page-{name}.png")), picture).unwrap();
    }

    /// What the browser complained about since the last time: violated policies, failed loads, errors.
    pub(crate) async fn complaints(&self) -> Vec<Value> {
        let value = self.post("se/log", json!({"type": "browser"})).await;
        value.as_array().unwrap().clone()
    }

    async fn developer(&self, command: &str, parameters: Value) -> Value {
        self.post("goog/cdp/execute", json!({"cmd": command, "params": parameters})).await
    }

    async fn post(&self, what: &str, body: Value) -> Value {
        call(self.address, "POST", &format!("/session/{}/{what}", self.session), body).await
    }

    /// Ends the browser before its driver.
    pub(crate) async fn quit(self) {
        call(self.address, "DELETE", &format!("/session/{}", self.session), json!({})).await;
    }
}

impl Drop for Browser {
    /// Also after a failed step: the driver and all that it started are one process group.
    fn drop(&mut self) {
        if let Some(group) = self.driver.id() {
            let group = format!("-{group}");
            let kill = std::process::Command::new("kill").args(["-KILL", "--", &group]).status();
            assert!(kill.is_ok(), "chromedriver can't be ended");
        }
    }
}

/// Where the driver says that it listens.
async fn address(driver: &mut Child) -> SocketAddr {
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            let port = port.trim_end_matches('.').parse().unwrap();
            return SocketAddr::from(([127, 0, 0, 1], port));
        }
    }
    panic!("chromedriver did not start");
}

async fn call(address: SocketAddr, method: &str, path: &str, body: Value) -> Value {
    let headers = [("content-type", "application/json")];
    let answer = ask(address, method, path, &headers, body.to_string()).await;
    let mut value: Value = serde_json::from_str(&answer.text).expect("JSON");
    assert_eq!(answer.status, 200, "{path}: {value}");
    value["value"].take()
}

/// Base64 with padding.
fn decode(text: &str) -> Vec<u8> {
    let sextet = |byte: u8| match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a' + 26),
        b'0'..=b'9' => u32::from(byte - b'0' + 52),
        b'+' => 62,
        b'/' => 63,
        other => panic!("{other} in base64"),
    };
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = group.iter().fold(0, |bits, &byte| bits << 6 | sextet(byte));
        let bits = bits << (6 * (4 - group.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}
