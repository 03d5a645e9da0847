//! docs/migrate.md, played: the reference's HSM service leaves a token and a log, and hsmd goes on with both. Its
//! layout: CKA_LABEL `authorization-key`, CKA_ID the sequence number in eight digits, every key kept, and the
//! events of docs/formats.md. Both are made here, by OpenSC's pkcs11-tool.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use hsmd_chain::{Anchor, Digest, KeyLog, PublicKey, Signature};
use hsmd_tests::{Hsmd, KEY_LABEL, TestToken, now};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::{DOCUMENT, WINDOW};

const TOKEN_LABEL: &str = "test-token";

/// The service that is taken over.
struct Reference {
    token: Arc<TestToken>,
    keys: Vec<PublicKey>,
    /// Texts and signatures.
    events: Vec<(String, Signature)>,
    ids: Vec<Digest>,
    folder: TempDir,
}

impl Reference {
    /// A token with its first key.
    fn new() -> Self {
        let token = Arc::new(TestToken::labelled(TOKEN_LABEL));
        let folder = tempfile::tempdir().unwrap();
        let mut new = Self { token, keys: vec![], events: vec![], ids: vec![], folder };
        new.generate();
        new
    }

    fn id(number: usize) -> String {
        format!("{number:08}").bytes().map(|byte| format!("{byte:02x}")).collect()
    }

    fn tool(&self, arguments: &[&str]) {
        let output = self.token.pkcs11_tool().args(arguments).stdin(Stdio::null()).output();
        let output = output.expect("pkcs11-tool (opensc)");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    /// Makes the next key pair.
    fn generate(&mut self) {
        let number = self.keys.len();
        let id = Self::id(number);
        let pair = ["--keypairgen", "--key-type", "EC:prime256v1", "--label", KEY_LABEL];
        self.tool(&[&pair[..], &["--id", &id, "--usage-sign", "--sensitive"]].concat());
        let id = format!("{number:08}");
        let made = self.token.objects().into_iter().find_map(|object| {
            (object.id.as_deref() == Some(id.as_str())).then_some(object.public_key).flatten()
        });
        self.keys.push(made.expect("a public key"));
    }

    /// Signs with key `number`.
    fn sign(&self, number: usize, text: &str) -> Signature {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let (digest, signature) = (file("digest"), file("signature"));
        std::fs::write(&digest, Sha256::digest(text)).unwrap();
        let id = Self::id(number);
        let sign = ["--sign", "--mechanism", "ECDSA", "--id", &id];
        self.tool(&[&sign[..], &["-i", &digest, "-o", &signature]].concat());
        let signature = std::fs::read(&signature).unwrap();
        Signature::from_bytes(&signature.try_into().unwrap()).unwrap()
    }

    /// Reveals the newest key and commits to one after it.
    fn append(&mut self, created_at: &str, taint: bool) {
        let number = self.events.len();
        self.generate();
        let (key, next) = (self.keys[number], self.keys[number + 1]);
        let previous = self.ids.last().map(|id| format!("\"previous\":\"{id}\","));
        let previous = previous.unwrap_or_default();
        let taint = if taint { "\"taintPrevious\":true," } else { "" };
        let commitment = Digest::of(next.as_str().as_bytes());
        let text = |id: &str, prefix: &str| {
            format!(
                "{{\"id\":\"{id}\",\"prefix\":\"{prefix}\",\"sequenceNumber\":{number},{previous}\
                 \"createdAt\":\"{created_at}\",{taint}\"purpose\":\"key-authorization\",\
                 \"publicKey\":\"{key}\",\"rotationHash\":\"{commitment}\"}}"
            )
        };
        let blank = "#".repeat(44);
        let prefix = self.ids.first().map(ToString::to_string);
        let id = Digest::of(text(&blank, prefix.as_ref().unwrap_or(&blank)).as_bytes());
        let text = text(id.as_str(), prefix.as_deref().unwrap_or(id.as_str()));
        let signature = self.sign(number, &text);
        self.ids.push(id);
        self.events.push((text, signature));
    }

    /// The log as it is published.
    fn log(&self) -> String {
        let event = |(text, signature): &(String, Signature)| {
            format!("{{\"payload\":{text},\"signature\":\"{signature}\"}}")
        };
        let events: Vec<_> = self.events.iter().map(event).collect();
        format!("[{}]", events.join(","))
    }

    /// An hsmd on its token, with the schema and nothing in it, and the file of the log.
    async fn taken_over(self) -> (Hsmd, PathBuf) {
        let identity = self.ids[0].to_string();
        let mut hsmd = Hsmd::fresh().await;
        hsmd.token = Arc::clone(&self.token);
        let hsmd = hsmd.set("token.0.label", TOKEN_LABEL).set("identity", identity);
        let file = hsmd.path("reference.json");
        std::fs::write(&file, self.log()).unwrap();
        hsmd.migrate().await;
        (hsmd, file)
    }
}

#[tokio::test]
async fn hsmd_goes_on_with_the_references_token_and_log() {
    let mut reference = Reference::new();
    reference.append("2025-11-01T00:00:00.000Z", false);
    reference.append("2025-11-02T03:04:05.006Z", false);
    reference.append("2025-11-03T03:04:05.006Z", true);
    let log = reference.log();
    let anchor = Anchor::new(reference.ids[0]);
    let last = reference.ids[2];
    let (hsmd, file) = reference.taken_over().await;
    assert_eq!(hsmd.token.private_keys(), [0, 1, 2, 3], "the reference keeps every key");

    hsmd.run(&["serve"]).await.ended(65, "the log is lost or this is the wrong database");
    hsmd.run(&["import", &file.display().to_string()]).await.good();
    assert_eq!(hsmd.export().await, log);
    let daemon = hsmd.serve().await;
    let signed = daemon.sign(DOCUMENT).await.unwrap();
    assert_eq!(signed.generation_id(), last);
    let skew = Duration::from_secs(5);
    let verified = KeyLog::verify_json(log.as_bytes(), &anchor, now(), skew).unwrap();
    signed.verify(&verified, now(), WINDOW).unwrap();

    daemon.rotate_head().await;
    daemon.taint_head().await;
    daemon.sign(DOCUMENT).await.unwrap();
    let history = hsmd.history().await;
    assert_eq!(history.events().len(), 5);
    assert!(history.to_json().starts_with(&log[..log.len() - 1]), "the same texts");
    daemon.stop().await;
    // What signs now, and what it has committed to.
    assert_eq!(hsmd.token.private_keys(), [4, 5]);
    hsmd.serve().await.rotate_head().await;
}

#[tokio::test]
async fn a_log_with_times_of_nine_digits_is_refused() {
    let mut reference = Reference::new();
    reference.append("2025-11-01T00:00:00.000Z", false);
    reference.append("2025-11-02T03:04:05.006000000Z", false);
    let (hsmd, file) = reference.taken_over().await;
    let file = file.display().to_string();
    for arguments in [&["import", &file][..], &["import", "--without-token", &file]] {
        hsmd.run(arguments).await.refused("not verify");
    }
    assert!(hsmd.database.events().await.is_empty());
    assert_eq!(hsmd.token.private_keys(), [0, 1, 2]);
}
