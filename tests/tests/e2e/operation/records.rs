//! The durable records of what administrators did: what can stand in one, and which are contradicted.

use hsmd_tests::{Hsmd, program};
use serde_json::Value;
use tokio::process::Command;

fn insert(action: &str, reason: &str, sequence_number: u32) -> String {
    format!(
        "INSERT INTO admin_action (at, action, caller, reason, request_id, sequence_number) \
         VALUES ('2026-11-22T11:22:33.044Z', '{action}', 'somebody', $m${reason}$m$, '', \
         {sequence_number})"
    )
}

async fn audit(hsmd: &Hsmd, format: &str) -> String {
    let endpoint = format!("unix://{}", hsmd.path("admin.sock").display());
    let arguments = ["--admin-endpoint", &endpoint, "--output", format, "audit"];
    let output = Command::new(program("hsmctl")).args(arguments).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_database_takes_no_reason_that_reads_like_something_else() {
    let hsmd = Hsmd::initialised().await;
    let bad =
        ["", " \t ", "\u{a0}\u{2003}", "a\nb", "a\u{202e}b", "\u{200f}a", "a\u{2066}b", "a\u{9b}"];
    for reason in bad {
        let refused = hsmd.database.execute(false, &insert("init", reason, 0)).await.unwrap_err();
        let constraint = refused.as_database_error().and_then(|error| error.constraint());
        let constraint = constraint.unwrap_or_default();
        assert!(constraint.starts_with("admin_action_reason"), "{reason:?}: {refused}");
    }
    for reason in ["key leaked, ticket 7 (ü)", " a ", "鍵"] {
        hsmd.database.execute(false, &insert("init", reason, 0)).await.expect(reason);
    }
}

#[tokio::test]
async fn a_record_that_contradicts_its_event_is_marked() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    daemon.taint_head().await;
    // Whoever may write into the database, which the daemon's own role may.
    for (action, number) in [("taint", 1), ("rotate", 2), ("init", 2), ("rotate", 1)] {
        let forged = insert(action, "it was somebody else", number);
        hsmd.database.execute(false, &forged).await.unwrap();
    }
    let told: Value = serde_json::from_str(&audit(&hsmd, "json").await).unwrap();
    let found: Vec<_> = told
        .as_array()
        .unwrap()
        .iter()
        .map(|record| (record["action"].as_str().unwrap(), record["contradiction"].as_str()))
        .collect();
    assert_eq!(
        found,
        [
            ("init", None),
            ("rotate", None),
            ("taint", None),
            ("taint", Some("event 1 taints nothing")),
            ("rotate", Some("event 2 taints its predecessor")),
            ("init", Some("event 2 is not the first")),
            ("rotate", None),
        ]
    );
    let told = audit(&hsmd, "text").await;
    let marked = told.lines().filter(|line| line.starts_with("CONTRADICTED: event ")).count();
    assert_eq!((marked, told.lines().count()), (3, 7), "{told}");
}

#[tokio::test]
async fn the_person_behind_a_group_is_in_the_record() {
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    let mut admin = toml::toml! {
        name = "operators"
        allow = ["status", "rotate", "taint"]
    };
    admin.insert("gid".into(), i64::from(gid.as_raw()).into());
    let hsmd = Hsmd::initialised().await.set("admin", vec![toml::Value::Table(admin)]);
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    let rows = hsmd.database.admin_rows().await;
    let caller = &rows.last().unwrap().caller;
    assert!(caller.starts_with(&format!("operators (uid {uid}")), "{caller}");
    let name = nix::unistd::User::from_uid(uid).unwrap().map(|user| user.name);
    assert!(name.is_none_or(|name| caller.ends_with(&format!(" {name})"))), "{caller}");
}
