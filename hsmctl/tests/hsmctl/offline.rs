//! Everything that needs no daemon: verify, completions, usage.

use std::io::Write;
use std::process::Stdio;

use hsmd_chain::EndorsementPayload;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use hsmd_chain::testing::{LogBuilder, SoftwareKey, at};
use serde_json::Value;

use crate::{Done, hsmctl, run, write};

/// Events 0 to 3, made hourly from 2026-01-01T00:00; 2 is tainted by 3.
fn tainted_log() -> LogBuilder {
    LogBuilder::of_length("offline", 3).taint()
}

struct Files {
    folder: tempfile::TempDir,
    log: LogBuilder,
    log_file: String,
}

impl Files {
    fn new() -> Self {
        let (folder, log) = (tempfile::tempdir().expect("a folder"), tainted_log());
        let log_file = write(folder.path(), "log.json", &log.to_json());
        Self { folder, log, log_file }
    }

    fn endorsement(&self, generation: usize, expiration: &str) -> String {
        let key = SoftwareKey::from_seed("service");
        let signed = self.log.endorse(generation, "access", key.public_key(), at(expiration));
        write(self.folder.path(), &format!("e{generation}.json"), &signed.to_json())
    }

    fn document(&self, generation: usize) -> String {
        let signed = self.log.sign(generation, r#"{"purpose":"document"}"#);
        write(self.folder.path(), &format!("d{generation}.json"), &signed.to_json())
    }

    fn verify(&self, more: &[&str]) -> Done {
        let identity = self.log.identity().to_string();
        let first = ["verify", "--identity", &identity, "--log", &self.log_file];
        run(&[&first[..], more].concat())
    }
}

/// Writes logs, and reconciles them under an anchor.
fn reconcile(anchor: &str, logs: &[&LogBuilder]) -> (Done, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let files: Vec<String> = logs
        .iter()
        .enumerate()
        .map(|(index, log)| write(folder.path(), &format!("{index}.json"), &log.to_json()))
        .collect();
    let keep = folder.path().join("keep.json");
    let keep_text = keep.to_str().expect("UTF-8");
    let mut arguments = vec!["reconcile", "--identity", anchor, "--write", keep_text];
    arguments.extend(files.iter().map(String::as_str));
    (run(&arguments), std::fs::read_to_string(keep).unwrap_or_default())
}

#[test]
fn the_branch_that_the_committed_key_follows_or_that_nothing_decides() {
    let trunk = LogBuilder::of_length("trunk", 4);
    let before = trunk.rewound_to(3);
    let later = |log: &LogBuilder| {
        let created_at = log.head().event().created_at();
        created_at.saturating_add(std::time::Duration::from_millis(7))
    };
    let at = later(&before);
    let accident = before.append(at, false);
    let identity = trunk.identity().to_string();

    let (done, kept) = reconcile(&identity, &[&trunk.rewound_to(2), &trunk]);
    let out = done.expect(0).out;
    assert!(out.contains("one history") && out.contains("its beginning"), "{out}");
    assert_eq!(kept, trunk.to_json());

    let (done, kept) = reconcile(&identity, &[&trunk, &accident]);
    assert!(done.expect(2).err.contains("no event follows that decides"));
    assert_eq!(kept, "", "nothing is written that nothing has decided");

    let longer = accident.clone().rotate();
    let (done, kept) = reconcile(&identity, &[&trunk, &longer]);
    let out = done.expect(0).out;
    assert!(out.contains("contested, and decided") && out.contains("the losing branch"), "{out}");
    assert!(out.contains("the committed key has signed"), "{out}");
    assert_eq!(kept, longer.to_json());

    let theft = trunk.stolen_at(3, "thief").rotate();
    let (done, _) = reconcile(&identity, &[&trunk, &theft]);
    let err = done.expect(2).err;
    assert!(
        err.contains("commit to different keys") && err.contains("Nothing in the logs"),
        "{err}"
    );
    let anchor = format!("{identity}@3:{}", trunk.id(3));
    let (done, kept) = reconcile(&anchor, &[&trunk, &theft]);
    assert!(done.expect(0).out.contains("that --identity names"));
    assert_eq!(kept, trunk.to_json());
    assert_eq!(run(&["reconcile", "a", "b"]).code, 64);
}

#[test]
fn a_good_log_and_what_it_vouches_for() {
    let files = Files::new();
    let (document, endorsement) =
        (files.document(3), files.endorsement(1, "2026-01-01T05:00:00.000Z"));
    let arguments = [
        "--signed",
        &document,
        &endorsement,
        "--at",
        "2026-01-01T03:30:00.000Z",
        "--window",
        "12h",
    ];
    let done = files.verify(&arguments).expect(0);
    assert!(done.out.contains("4 events"), "{}", done.out);
    assert!(done.out.contains("TAINTED") && done.out.contains("head"), "{}", done.out);
    assert!(done.out.contains("for access until 2026-01-01T05:00:00.000Z, by generation 1"));
    assert!(!done.out.contains('\x1b'), "no colour in a pipe");

    let json = files.verify(&[&arguments[..], &["--output", "json"]].concat()).expect(0);
    let value: Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(value["signed"][0]["kind"], "document");
    assert_eq!(value["signed"][1]["kind"], "endorsement");
    assert_eq!(value["head"]["sequenceNumber"], 3);
}

/// As `hsmctl sign` and `endorse` print them, with a newline, and as services publish them, without.
#[test]
fn leaves_of_a_batch_are_judged_like_bodies_of_their_own() {
    let files = Files::new();
    let key = *SoftwareKey::from_seed("service").public_key();
    let endorsement = EndorsementPayload::new("access", key, at("2026-01-01T05:00:00.000Z"));
    let payloads = [r#"{"purpose":"document"}"#.to_owned(), endorsement.expect("a purpose").text()];
    let item = |generation: usize, index: usize, end: &str| {
        let text = files.log.batch(generation, &payloads)[index].to_json() + end;
        write(files.folder.path(), &format!("b{generation}-{index}.json"), &text)
    };
    let time = ["--at", "2026-01-01T03:30:00.000Z"];
    let (document, endorsement) = (item(3, 0, "\n"), item(1, 1, ""));
    let arguments = [&time[..], &["--signed", &document, "--signed", &endorsement]].concat();
    let done = files.verify(&arguments).expect(0);
    assert!(done.out.contains("document, signed by generation 3"), "{}", done.out);
    assert!(done.out.contains("for access until 2026-01-01T05:00:00.000Z, by generation 1"));

    let broken = files.log.batch(3, &payloads)[0].to_json().replace("\"index\":0", "\"index\":1");
    let blank = files.log.batch(3, &payloads)[0].to_json().replace("\"index\":0", "\"index\": 0");
    for (bad, reason) in [
        (item(2, 0, ""), "no longer live"),
        (write(files.folder.path(), "broken.json", &broken), "does not lead to the root"),
        (write(files.folder.path(), "blank.json", &blank), "not in canonical form"),
    ] {
        let done = files.verify(&[&time[..], &["--signed", &bad]].concat()).expect(2);
        assert!(done.out.contains(reason), "{}", done.out);
    }
}

#[test]
fn what_does_not_hold_is_named_and_fails() {
    let files = Files::new();
    let at = ["--at", "2026-01-01T03:30:00.000Z"];
    let good = files.document(3);
    let cases = [
        (files.document(2), "no longer live"),
        (files.endorsement(3, "2026-01-01T03:30:00.000Z"), "expired"),
        (write(files.folder.path(), "not.json", "{}"), "body and signature"),
        (write(files.folder.path(), "other.json", &other_identity()), "identity"),
    ];
    for (bad, reason) in cases {
        let done =
            files.verify(&[&at[..], &["--signed", &good, "--signed", &bad]].concat()).expect(2);
        let line = done.out.lines().find(|line| line.starts_with("BAD")).expect("a bad one");
        assert!(line.contains(&bad) && line.contains(reason), "{line}");
        assert!(done.out.contains("good"), "the others are judged as well");
    }
    // Within a short window generation 0 and 1 are past, within a long one they are not.
    let old = files.document(1);
    for (window, code) in [("1h", 2), ("2h", 0)] {
        let arguments = [&at[..], &["--signed", &old, "--window", window]].concat();
        files.verify(&arguments).expect(code);
    }
}

fn other_identity() -> String {
    LogBuilder::new("other").sign(0, r#"{"purpose":"document"}"#).to_json()
}

#[test]
fn a_log_that_does_not_prove_itself_is_refused() {
    let files = Files::new();
    let identity = files.log.identity().to_string();
    let longer = files.log.clone().rotate();
    let changed = files.log.to_json().replace("T01:00:00.000Z", "T01:00:00.001Z");
    let changed = write(files.folder.path(), "changed.json", &changed);
    let empty = write(files.folder.path(), "empty.json", "[]");
    let cases = [
        (identity.clone(), changed, "event 1"),
        (identity, empty, "empty"),
        (LogBuilder::new("other").identity().to_string(), files.log_file.clone(), "not of"),
        (longer.log().anchor().to_string(), files.log_file.clone(), "rollback"),
    ];
    for (anchor, log, reason) in cases {
        let done = run(&["verify", "--identity", &anchor, "--log", &log]).expect(2);
        assert!(done.err.contains(reason), "{}", done.err);
        assert_eq!(done.out, "");
    }
    files.verify(&["--at", "2026-01-01T01:00:00.000Z"]).expect(2);
}

/// A log from somewhere: its words may be meant for a terminal.
#[test]
fn what_a_file_says_is_escaped_on_standard_error_as_well() {
    let files = Files::new();
    let odd = r#"[{"payload":{},"signature":"0I","\u001b]0;all is well\u0007\u202e":1}]"#;
    let odd = write(files.folder.path(), "odd.json", odd);
    let identity = files.log.identity().to_string();
    let done = run(&["verify", "--identity", &identity, "--log", &odd]).expect(2);
    assert!(done.err.contains("all is well"), "the name is quoted: {}", done.err);
    let shown = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
    assert!(done.err.chars().all(shown), "{:?}", done.err);
}

#[test]
fn the_log_may_come_from_standard_input() {
    let files = Files::new();
    let anchor = files.log.log().anchor().to_string();
    let mut child = hsmctl()
        .args(["verify", "--log", "-"])
        .env("HSMD_IDENTITY", anchor)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(files.log.to_json().as_bytes()).expect("written");
    drop(input);
    Done::from(child.wait_with_output().expect("ends")).expect(0);
}

#[test]
fn no_more_is_read_than_could_be_signed() {
    let mut child = hsmctl()
        .args(["sign", "-", "--endpoint", "unix:///nowhere/service.sock"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    let mut input = child.stdin.take().expect("piped");
    // Without end: it stops when nobody reads any more.
    let line = [b'a'; 4096];
    while input.write_all(&line).is_ok() {}
    let done = Done::from(child.wait_with_output().expect("ends")).expect(1);
    assert!(done.err.contains("more than 64 KiB"), "{}", done.err);
}

#[test]
fn bad_usage_is_64() {
    let files = Files::new();
    let cases: [&[&str]; 8] = [
        &[],
        &["sing"],
        &["rotate"],
        &["endorse", "--purpose", "a", "--public-key", "1AAIx", "--ttl", "1h"],
        &["verify", "--log", &files.log_file],
        &["verify", "--log", &files.log_file, "--identity", "E"],
        &["status", "--admin-endpoint", "http://example.com:1"],
        &["status", "--admin-endpoint", "https://localhost:1", "--ca-file", "/dev/null"],
    ];
    for arguments in cases {
        let done = run(arguments).expect(64);
        assert!(!done.err.is_empty() && done.out.is_empty(), "{arguments:?}");
    }
    files.verify(&["--signed", "/nowhere/at/all"]).expect(64);
}

#[test]
fn help_version_and_completions_are_answers() {
    assert!(run(&["--help"]).expect(0).out.contains("Exit codes"));
    assert!(run(&["--version"]).expect(0).out.starts_with("hsmctl "));
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).expect(0).out.contains("hsmctl"));
    }
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    // Longer than a pipe holds, so that the write certainly meets the closed end.
    let log = LogBuilder::of_length("pipe", 800);
    let folder = tempfile::tempdir().expect("a folder");
    let file = write(folder.path(), "log.json", &log.to_json());
    let identity = log.identity().to_string();
    let mut child = hsmctl()
        .args(["verify", "--identity", &identity, "--log", &file])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// From a JWT of the accounts service to the HSM's identity, with what it published.
#[test]
fn a_token_leads_back_to_the_hsm() {
    let files = Files::new();
    let (key, other) = (SoftwareKey::from_seed("accounts"), SoftwareKey::from_seed("other"));
    let endorse = |generation, purpose| {
        let until = at("2026-01-01T05:00:00.000Z");
        files.log.endorse(generation, purpose, key.public_key(), until).to_json()
    };
    let jwks = |name: &str, kid: &str, endorsement: &str| {
        let foreign = r#"{"kty":"RSA","kid":"someone's"}"#;
        let text =
            format!(r#"{{"keys":[{foreign},{{"kty":"EC","kid":"{kid}","hsmd":{endorsement}}}]}}"#);
        write(files.folder.path(), name, &text)
    };
    let encode = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
    let token = |alg: &str, signer: &SoftwareKey| {
        let header = format!(r#"{{"alg":"{alg}","kid":"{}"}}"#, key.public_key());
        // 2026-01-01T03:40:00Z.
        let signed = format!("{}.{}", encode(&header), encode(r#"{"sub":"ann","exp":1767238800}"#));
        let signature = signer.sign(signed.as_bytes()).as_str().replacen("0I", "AA", 1);
        let signature = Base64UrlUnpadded::decode_vec(&signature).expect("base64url");
        format!("{signed}.{}\n", Base64UrlUnpadded::encode_string(&signature[2..]))
    };
    let verify = |token: &str, jwks: &str, time: &str| {
        let token = write(files.folder.path(), "token", token);
        files.verify(&["--jwt", &token, "--jwks", jwks, "--at", time, "--output", "json"])
    };
    let (kid, now) = (key.public_key().to_string(), "2026-01-01T03:30:00.000Z");
    let good = jwks("good", &kid, &endorse(3, "jwt"));
    let done = verify(&token("ES256", &key), &good, now);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    let report: Value = serde_json::from_str(&done.out).expect("JSON");
    assert_eq!(report["token"]["claims"]["sub"], "ann");
    assert_eq!(report["token"]["sequenceNumber"], 3);

    for (token, jwks, time, hint) in [
        (token("ES256", &other), &good, now, "does not verify"),
        (token("RS256", &key), &good, now, "no JWT"),
        ("nonsense".to_owned(), &good, now, "no JWT"),
        (token("ES256", &key), &good, "2026-01-01T03:40:00.000Z", "expired"),
        (token("ES256", &key), &jwks("other", "x", &endorse(3, "jwt")), now, "not in the JWKS"),
        (token("ES256", &key), &jwks("access", &kid, &endorse(3, "access")), now, "endorsement"),
        // Generation 2 is tainted.
        (token("ES256", &key), &jwks("tainted", &kid, &endorse(2, "jwt")), now, "endorsement"),
    ] {
        let done = verify(&token, jwks, time);
        assert_eq!(done.code, 2, "{hint}: {}", done.out);
        assert!(done.out.contains(hint), "{hint}: {}", done.out);
    }
    assert_eq!(files.verify(&["--jwt", "token"]).code, 64, "a JWKS is needed");
}
