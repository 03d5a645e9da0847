//! What a service has that has no library: curl.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;

use hsmd_chain::testing::SoftwareKey;
use hsmd_chain::{PublicKey, SignedPayload, Timestamp};
use hsmd_tests::{OwnNetwork, now};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// curl in some network, with the arguments that lead to a gateway.
pub(crate) struct Curl {
    words: Vec<OsString>,
    url: String,
}

/// Status, headers and body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: String,
}

impl Curl {
    /// To a URL, from within a network.
    pub(crate) fn within(network: &OwnNetwork, url: &str) -> Self {
        let words = network.enter().into_iter().chain(["curl".into()]).collect();
        Self { words, url: url.to_owned() }
    }

    /// To a URL, from here.
    pub(crate) fn to(url: &str) -> Self {
        Self { words: vec!["curl".into()], url: url.to_owned() }
    }

    /// By a Unix socket.
    pub(crate) fn by(socket: &Path) -> Self {
        let words = vec!["curl".into(), "--unix-socket".into(), socket.into()];
        Self { words, url: "http://localhost".to_owned() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(path, &[], None).await.expect("an answer")
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        let json = ["-H", "Content-Type: application/json"];
        self.send(path, &json, Some(body)).await.expect("an answer")
    }

    /// The answer, or nothing where there is no connection.
    pub(crate) async fn send(
        &self,
        path: &str,
        arguments: &[&str],
        body: Option<&str>,
    ) -> Option<Answer> {
        let mut curl = Command::new(&self.words[0]);
        curl.args(&self.words[1..]).args(["--silent", "--include", "--max-time", "60"]);
        curl.args(arguments).args(body.map(|_| ["--data-binary", "@-"]).into_iter().flatten());
        curl.arg(format!("{}{path}", self.url));
        curl.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = curl.spawn().expect("curl");
        let mut input = child.stdin.take().expect("its standard input");
        input.write_all(body.unwrap_or_default().as_bytes()).await.expect("a body to send");
        drop(input);
        let output = child.wait_with_output().await.expect("curl's end");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let (headers, body) = text.split_once("\r\n\r\n")?;
        let status = headers.split(' ').nth(1).expect("a status").parse().expect("a number");
        Some(Answer { status, headers: headers.to_lowercase(), body: body.to_owned() })
    }

    /// Has the key endorsed until then.
    pub(crate) async fn endorse(&self, expiration: &str) -> Answer {
        let payload = json!({
            "expiration": expiration, "publicKey": key().as_str(), "purpose": "access",
        });
        self.post("/sign", &json!({"payload": payload}).to_string()).await
    }

    /// Asks whether an endorsement of the key holds.
    pub(crate) async fn verify(&self, endorsement: &str, look_back: &str) -> Value {
        let asked = format!(
            r#"{{"endorsement":{endorsement},"purpose":"access","publicKey":"{}","lookBack":"{look_back}"}}"#,
            key()
        );
        let answer = self.post("/verify", &asked).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_str(&answer.body).expect("JSON")
    }
}

impl Answer {
    /// An endorsement in plain form.
    pub(crate) fn signed(&self) -> SignedPayload {
        assert_eq!(self.status, 200, "{self:?}");
        assert!(self.body.starts_with(r#"{"body":{"payload":"#), "{self:?}");
        SignedPayload::parse(&self.body).expect("a published form")
    }

    #[track_caller]
    pub(crate) fn is_refused(&self, status: u16, with: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.body.contains(with), "{with:?} is not in {self:?}");
        assert!(!self.headers.contains("access-control"), "{self:?}");
    }
}

/// The key of the service.
pub(crate) fn key() -> PublicKey {
    *SoftwareKey::from_seed("a service without gRPC").public_key()
}

/// So many seconds from now.
pub(crate) fn after(seconds: u64) -> Timestamp {
    now().saturating_add(std::time::Duration::from_secs(seconds))
}
