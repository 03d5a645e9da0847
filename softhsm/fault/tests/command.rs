//! The command: what it sets is what a module reads, and what it prints can be parsed.
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::path::Path;
use std::process::{Command, Output};

use hsmd_fault::{Control, Status, TokenState};

fn run(control: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hsmd-fault"))
        .arg("--control")
        .arg(control)
        .args(arguments)
        .output()
        .expect("run hsmd-fault")
}

fn good(control: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = run(control, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn every_command_sets_what_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("control");
    let status = || -> Status {
        let status = serde_json::from_slice(&good(&path, &["status"])).expect("JSON");
        assert_eq!(status, Control::open(&path).expect("open").status());
        status
    };
    assert!(status().functions.is_empty());

    good(&path, &["fail", "C_Sign", "CKR_DEVICE_ERROR", "--times", "3", "--skip", "2"]);
    good(&path, &["fail", "C_GenerateKeyPair", "0x80000001", "--after"]);
    good(&path, &["delay", "C_Sign", "70ms", "--jitter", "5ms"]);
    good(&path, &["hang", "C_Login", "--times", "1"]);
    good(&path, &["corrupt"]);
    good(&path, &["quirk", "short-ids"]);
    good(&path, &["quirk", "handle-reuse"]);
    good(&path, &["quirk", "short-ids", "--off"]);
    let refusal = ["CKA_PRIVATE=true", "CKR_ATTRIBUTE_VALUE_INVALID", "--keep-lock"];
    good(&path, &[&["refuse", "C_CreateObject"], &refusal[..]].concat());
    good(&path, &["drop"]);
    assert_eq!(
        serde_json::to_value(status()).expect("JSON"),
        serde_json::json!({
            "token": "away",
            "quirks": ["handle-reuse"],
            "functions": {
                "C_CreateObject": {
                    "calls": 0,
                    "refuse": {
                        "attribute": "CKA_PRIVATE=true",
                        "code": "CKR_ATTRIBUTE_VALUE_INVALID",
                        "keepsLock": true,
                        "skip": 0,
                    },
                },
                "C_GenerateKeyPair": {
                    "calls": 0,
                    "fail": {"code": "0x80000001", "after": true, "skip": 0},
                },
                "C_Login": {"calls": 0, "hang": {"skip": 0, "times": 1}},
                "C_Sign": {
                    "calls": 0,
                    "fail": {"code": "CKR_DEVICE_ERROR", "after": false, "skip": 2, "times": 3},
                    "corrupt": {"skip": 0},
                    "delayMicros": 70_000,
                    "jitterMicros": 5_000,
                },
            },
        })
    );

    good(&path, &["release"]);
    assert_eq!(status().function("C_Login").hang, None);
    good(&path, &["clear", "C_Sign"]);
    good(&path, &["clear", "C_CreateObject"]);
    assert_eq!(status().functions.keys().collect::<Vec<_>>(), ["C_GenerateKeyPair"]);
    good(&path, &["restore"]);
    assert_eq!(status().token, TokenState::Present);
    good(&path, &["drop"]);
    good(&path, &["clear"]);
    assert_eq!(
        status(),
        Status { token: TokenState::Present, quirks: vec![], functions: [].into() }
    );
    good(&path, &["reset"]);
}

#[test]
fn nonsense_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("control");
    for (arguments, word) in [
        (["fail", "C_Sing", "CKR_DEVICE_ERROR"], "C_Sing"),
        (["fail", "C_Sign", "DEVICE_ERROR"], "DEVICE_ERROR"),
        (["delay", "C_Sign", "seventy"], "seventy"),
        (["quirk", "short-ids", "--on"], "--on"),
        (["quirk", "long-ids", "--off"], "long-ids"),
    ] {
        let output = run(&path, &arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(word));
    }
    let output = run(folder.path(), &["status"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot use the control file"));
}
