//! What the last release wrote, kept in `tests/compat`: today's code reads its messages, its configuration and
//! its schema (docs/compatibility.md).

mod messages;
mod take_over;

use std::path::Path;

use hsmd_chain::SignedEvent;
use hsmd_tests::{Database, Hsmd, Output, program};
use tokio::process::Command;

/// The last release's tables, and what it wrote into them.
const KEY_LOG: &str = include_str!("../../compat/2026-11-21/key_log.sql");
const ACCOUNTS: &str = include_str!("../../compat/2026-11-21/accounts.sql");
const ROWS: &str = include_str!("../../compat/2026-11-21/rows.sql");
const LOG: &str = include_str!("../../compat/2026-11-21/log.json");

/// Makes the tables as that release's `migrate` did.
async fn old_schema(database: &Database, rows: &str) {
    let migrations = format!(
        "CREATE TABLE _sqlx_migrations (version bigint PRIMARY KEY, description text NOT NULL, \
           installed_on timestamptz NOT NULL DEFAULT now(), success boolean NOT NULL, \
           checksum bytea NOT NULL, execution_time bigint NOT NULL); \
         INSERT INTO _sqlx_migrations VALUES \
           (1, 'key log', now(), true, sha384(convert_to($m${KEY_LOG}$m$, 'UTF8')), 0)"
    );
    for sql in ["CREATE SCHEMA hsmd", KEY_LOG, &migrations, rows] {
        database.execute(true, sql).await.unwrap();
    }
}

/// The statements that put events there.
fn inserts(events: &[SignedEvent]) -> String {
    let insert = |event: &SignedEvent| {
        let (text, signature) = (event.text(), event.signature());
        format!("INSERT INTO event (event_text, signature) VALUES ('{text}', '{signature}');")
    };
    events.iter().map(insert).collect()
}

#[tokio::test]
async fn the_rows_of_the_last_release_are_migrated_as_they_are() {
    let hsmd = Hsmd::fresh().await;
    old_schema(&hsmd.database, ROWS).await;
    hsmd.run(&["serve"]).await.ended(65, "run `hsmd migrate`");
    let reasons = ["to begin", " ", "two\nlines", "seen elsewhere", "a restore"];
    for _ in 0..2 {
        hsmd.migrate().await;
        assert_eq!(hsmd.export().await, LOG);
        let rows = hsmd.database.admin_rows().await;
        assert_eq!(rows.iter().map(|row| row.reason.as_str()).collect::<Vec<_>>(), reasons);
    }
}

#[tokio::test]
async fn a_key_log_of_the_last_release_is_served() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    daemon.taint_head().await;
    daemon.stop().await;
    let events = hsmd.database.events().await;
    let exported = hsmd.export().await;
    // That release's records on the token and in the state folder are not those of today.
    hsmd.forget_journal();
    let hsmd = hsmd.with_database(Database::create().await);
    old_schema(&hsmd.database, &inserts(&events)).await;
    hsmd.migrate().await;
    assert_eq!(hsmd.export().await, exported);
    let daemon = hsmd.serve().await;
    daemon.sign(crate::DOCUMENT).await.unwrap();
    daemon.rotate_head().await;
    daemon.taint_head().await;
    assert_eq!(hsmd.history().await.events().len(), 5);
}

/// Postgres knows a migration by its checksum: a file that was released never changes.
#[test]
fn released_migrations_are_byte_for_byte_what_they_were() {
    assert_eq!(KEY_LOG, include_str!("../../../hsmd/migrations/0001_key_log.sql"));
    assert_eq!(ACCOUNTS, include_str!("../../../services/auth/migrations/0001_accounts.sql"));
}

/// The settings of that release which are gone, as docs/compatibility.md lists them.
const GONE: [(&str, &[&str]); 4] =
    [("hsmd", &["session_copy"]), ("keys", &[]), ("auth", &[]), ("app", &[])];

/// Runs `check` with a configuration: 64 says that it can't be used, 1 that what it names is not here.
async fn check(name: &str, folder: &Path, text: &str) -> Output {
    let (file, command) = match name {
        "hsmd" => (folder.join("hsmd.toml"), "hsmd".to_owned()),
        _ => (folder.join(format!("{name}.toml")), format!("hsmd-{name}")),
    };
    std::fs::write(&file, text).unwrap();
    Output::of(Command::new(program(&command)).arg("--config").arg(file).arg("check")).await
}

#[tokio::test]
async fn the_configuration_of_the_last_release_is_read_but_for_documented_settings() {
    let documented = include_str!("../../../docs/compatibility.md");
    for (name, gone) in GONE {
        let folder = tempfile::tempdir().unwrap();
        let path = format!("{}/compat/2026-11-21/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        // `check` makes the state folder: here, not on this machine's own paths.
        let mut text = std::fs::read_to_string(path).unwrap();
        for place in ["/var/lib/", "/var/log/", "/etc/hsmd/", "/run/"] {
            text = text.replace(place, &format!("{}/", folder.path().display()));
        }
        for setting in gone {
            check(name, folder.path(), &text).await.ended(64, setting);
            assert!(documented.contains(&format!("`{setting}`")), "{setting} is not documented");
            let is_other = |line: &&str| !line.starts_with(&format!("{setting} ="));
            text = text.lines().filter(is_other).collect::<Vec<_>>().join("\n");
        }
        check(name, folder.path(), &text).await.ended(1, "");
    }
}
