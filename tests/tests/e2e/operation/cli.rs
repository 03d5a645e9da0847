//! What `hsmctl` prints for programs is what docs/hsmctl-json.md shows.

use std::collections::BTreeSet;

use hsmd_chain::testing::LogBuilder;
use hsmd_tests::{Hsmd, program, until};
use serde_json::Value;
use tokio::process::Command;

use crate::operation::{DOCUMENT, HOUR, with_callers};

const DOCUMENTED: &str = include_str!("../../../../docs/hsmctl-json.md");

/// The documented example of a name.
fn example(name: &str) -> Value {
    let (_, rest) = DOCUMENTED.split_once(&format!("```json {name}\n")).unwrap();
    serde_json::from_str(rest.split_once("\n```").unwrap().0).unwrap()
}

fn members(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[track_caller]
fn assert_same(name: &str, found: &Value, documented: &Value) {
    assert_eq!(members(found), members(documented), "{name}");
    for (member, example) in documented.as_object().unwrap() {
        let kind = |value: &Value| std::mem::discriminant(value);
        let found = &found[member];
        assert!(
            found.is_null() || kind(found) == kind(example) || example.is_null(),
            "{name}.{member}: {found}"
        );
    }
}

async fn printed(hsmd: &Hsmd, arguments: &[&str]) -> Value {
    serde_json::from_slice(&text(hsmd, arguments).await).unwrap()
}

/// What it prints, byte for byte.
async fn text(hsmd: &Hsmd, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program("hsmctl"))
        .args(["--output", "json"])
        .args(arguments)
        .env("HSMD_ENDPOINT", format!("unix://{}", hsmd.path("service.sock").display()))
        .env("HSMD_ADMIN_ENDPOINT", format!("unix://{}", hsmd.path("admin.sock").display()))
        // Where a taint leaves its event.
        .current_dir(hsmd.path("."))
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output.stdout
}

#[tokio::test]
async fn json_is_as_documented() {
    let hsmd = with_callers(Hsmd::initialised().await, "")
        .set("audit.sink", "file")
        .set("audit.file", "@/audit.jsonl")
        .set("audit.signatures", true);
    let _daemon = hsmd.serve().await;
    let event = example("event");

    let status = printed(&hsmd, &["status"]).await;
    let documented = example("status");
    assert_same("status", &status, &documented);
    assert_same("status.head", &status["head"], &event);
    assert_same("status.tokens", &status["tokens"][0], &documented["tokens"][0]);
    assert_same("status.database", &status["database"], &documented["database"]);
    assert_same("identity", &printed(&hsmd, &["identity"]).await, &example("identity"));
    for command in ["rotate", "taint"] {
        let changed = printed(&hsmd, &[command, "--reason", "why not"]).await;
        assert_same(command, &changed, &example("rotate"));
        assert_same(command, &changed["event"], &event);
    }
    let audit = printed(&hsmd, &["audit"]).await;
    assert_same("audit", &audit[0], &example("audit"));

    let file = hsmd.path("document.json");
    std::fs::write(&file, DOCUMENT).unwrap();
    let signed = text(&hsmd, &["sign", file.to_str().unwrap()]).await;
    std::fs::write(&file, signed).unwrap();
    let log = hsmd.path("log.json");
    std::fs::write(&log, hsmd.export().await).unwrap();
    let (log, file) = (log.to_str().unwrap(), file.to_str().unwrap());
    let identity = printed(&hsmd, &["identity"]).await["anchor"].as_str().unwrap().to_owned();
    let arguments = ["--identity", &identity, "verify", "--log", log, "--signed", file];
    let verified = printed(&hsmd, &arguments).await;
    let documented = example("verify");
    assert_same("verify", &verified, &documented);
    assert_same("verify.signed", &verified["signed"][0], &documented["signed"][0]);

    let records = hsmd.path("audit.jsonl");
    let arguments = ["audit", "--signatures", records.to_str().unwrap()];
    let signature =
        until("the signature's record", async || printed(&hsmd, &arguments).await.get(0).cloned())
            .await;
    assert_same("signature", &signature, &example("signature"));

    let trunk = LogBuilder::of_length("trunk", 4);
    let created_at = trunk.head().event().created_at();
    let other = trunk.rewound_to(3).append(created_at.saturating_add(HOUR), false).rotate();
    let files = [("trunk.json", trunk.to_json()), ("other.json", other.to_json())];
    let files = files.map(|(name, log)| {
        std::fs::write(hsmd.path(name), log).unwrap();
        hsmd.path(name).display().to_string()
    });
    let identity = trunk.identity().to_string();
    let arguments = ["--identity", &identity, "reconcile", &files[0], &files[1]];
    let reconciled = printed(&hsmd, &arguments).await;
    let documented = example("reconcile");
    assert_same("reconcile", &reconciled, &documented);
    let contest = &reconciled["contests"][0];
    assert_same("reconcile.contests", contest, &documented["contests"][0]);
    assert_same("reconcile.contests.keep", &contest["keep"], &event);
    assert_same("reconcile.contests.refuse", &contest["refuse"], &event);
}
