//! The schema and who may use the database: migrations of a log that has events, versions, roles, hosts.

use hsmd_chain::Timestamp;
use hsmd_chain::testing::LogBuilder;
use hsmd_tests::Hsmd;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Executor};

use crate::system::endorse;

#[tokio::test]
async fn another_schema_is_refused_by_name() {
    let hsmd = Hsmd::initialised().await;
    for (change, words) in [
        (
            "INSERT INTO _sqlx_migrations SELECT 9999, description, installed_on, success, checksum, \
             execution_time FROM _sqlx_migrations LIMIT 1",
            "is of a newer hsmd (migration 9999)",
        ),
        (
            "DELETE FROM _sqlx_migrations WHERE version = 9999; \
             UPDATE _sqlx_migrations SET checksum = 'other' WHERE version = 1",
            "another checksum",
        ),
        (
            "DELETE FROM _sqlx_migrations WHERE version = 1; \
             DELETE FROM _sqlx_migrations WHERE version = 2",
            "run `hsmd migrate`",
        ),
    ] {
        hsmd.database.execute(true, change).await.unwrap();
        for command in ["serve", "check", "export"] {
            let output = hsmd.run(&[command]).await;
            let said = format!("{output:?}");
            assert!(said.contains(words), "{command} after {change}: {said}");
        }
    }
}

#[tokio::test]
async fn what_the_writer_may_not_read_is_a_missing_grant() {
    let hsmd = Hsmd::initialised().await;
    let role = hsmd.database.writer_url();
    let (role, _) = role.trim_start_matches("postgresql://").split_once('@').unwrap();
    for revoke in [
        format!("REVOKE SELECT ON event FROM {role}"),
        format!("REVOKE USAGE ON SCHEMA hsmd FROM {role}"),
    ] {
        hsmd.database.execute(true, &revoke).await.unwrap();
        let said = format!("{:?}", hsmd.run(&["check"]).await);
        assert!(said.contains("missing GRANT"), "{revoke}: {said}");
        hsmd.migrate().await;
        hsmd.run(&["check"]).await.good();
    }
}

#[tokio::test]
async fn roles_that_may_connect_are_reported() {
    let hsmd = Hsmd::initialised().await;
    hsmd.run(&["check"]).await.good();
    let url = hsmd.database.writer_url();
    let name = url.split_once("@/").unwrap().1.split_once('?').unwrap().0.to_owned();
    hsmd.database.as_superuser(&format!("GRANT CONNECT ON DATABASE {name} TO PUBLIC")).await;
    let said = format!("{:?}", hsmd.run(&["check"]).await);
    assert!(said.contains("other roles may connect") && said.contains("PUBLIC"), "{said}");
    hsmd.migrate().await;
    hsmd.run(&["check"]).await.good();
}

#[tokio::test]
async fn a_lock_in_foreign_hands_does_not_stop_signing() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await.event().id();
    let mut thief = session(&hsmd, Some("postgres")).await;
    // Waits for the lock, and has it as soon as the daemon's connection is cut.
    let waiting = tokio::spawn(async move {
        let lock = "SELECT pg_advisory_lock(hashtextextended('hsmd:hsmd', 0))";
        thief.execute(lock).await.unwrap();
        thief
    });
    hsmd_tests::until("the thief waits for the lock", async || {
        hsmd.database.cut_connections().await;
        waiting.is_finished().then_some(())
    })
    .await;
    daemon.problem("the role postgres holds the writer lock").await;
    endorse(&daemon).await;
    daemon.rotate(zero.as_str()).await.expect_err("nothing is rotated without the lock");
    endorse(&daemon).await;
    waiting.await.unwrap().close().await.unwrap();
    hsmd_tests::until("the lock is back", async || daemon.rotate(zero.as_str()).await.ok()).await;
}

/// A session of this role, or of the writer's.
async fn session(hsmd: &Hsmd, role: Option<&str>) -> PgConnection {
    let url = hsmd.database.writer_url();
    let (writer, rest) = url.split_once("//").unwrap().1.split_once("@/").unwrap();
    let (name, folder) = rest.split_once("?host=").unwrap();
    let options = PgConnectOptions::new_without_pgpass()
        .socket(folder)
        .username(role.unwrap_or(writer))
        .database(name);
    PgConnection::connect_with(&options).await.unwrap()
}

/// A thief who has the writer's URL takes the lock: the token's owner still taints while it starts.
#[tokio::test]
async fn a_lock_in_a_thiefs_hands_does_not_stop_a_taint() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await.event().id();
    daemon.kill().await;
    let mut thief = session(&hsmd, None).await;
    thief.execute("SELECT pg_advisory_lock(hashtextextended('hsmd:hsmd', 0))").await.unwrap();
    let daemon = hsmd.launch(&[]);
    let tainted =
        hsmd_tests::until("a taint", async || daemon.taint(zero.as_str()).await.ok()).await.0;
    assert_eq!(hsmd.token.private_keys(), [1, 2], "key 0 is gone");
    daemon.refused("another hsmd holds the writer lock").await;
    thief.close().await.unwrap();
    let daemon = hsmd.serve().await;
    assert_eq!(daemon.head().await.text(), tainted.text());
    assert_eq!(hsmd.history().await.events().len(), 2);
}

/// The same hsmd with another URL of the writer.
fn with_url(hsmd: Hsmd, url: &str) -> Hsmd {
    let file = hsmd.path("another.url");
    hsmd_tests::write_private(&file, url);
    hsmd.set("database.writer_url_file", file.display().to_string())
}

#[tokio::test]
async fn the_writable_one_of_several_hosts_is_taken() {
    let hsmd = Hsmd::initialised().await;
    let url = hsmd.database.writer_url();
    let (before, folder) = url.split_once("?host=").unwrap();
    let several = format!("{before}?host=/nowhere,{folder}&target_session_attrs=read-write");
    let hsmd = with_url(hsmd, &several);
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    daemon.stop().await;
    hsmd.database.set_read_only(true).await;
    hsmd.run(&["export"]).await.refused("read-only or a hot standby");
    hsmd.database.set_read_only(false).await;
    let hsmd = with_url(hsmd, &format!("{url}&connect_timeout=3"));
    hsmd.run(&["serve"]).await.refused("connect_timeout is not supported");
}

/// Far more than one statement's time limit allowed when each row cost 20 ms.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "`scripts/test --long` says so in the environment")]
async fn thousands_of_events_are_imported() {
    let events = if std::env::var_os("HSMD_LONG").is_some() { 10_000 } else { 2_000 };
    let hsmd = Hsmd::fresh().await;
    hsmd.migrate().await;
    let mut log = LogBuilder::new("many");
    let begun = log.head().event().created_at().unix_millis();
    for number in 1..events {
        let at = Timestamp::from_unix_millis(begun + number).unwrap();
        log = log.append(at, number % 100 == 0);
    }
    let hsmd = hsmd.set("identity", log.identity().to_string());
    let copy = hsmd.path("copy");
    std::fs::write(&copy, log.to_json()).unwrap();
    let copy = copy.display().to_string();
    let begun = std::time::Instant::now();
    hsmd.run(&["import", "--without-token", &copy]).await.good();
    println!("{events} events imported in {:?}", begun.elapsed());
    assert_eq!(hsmd.export().await, log.to_json());
    assert_eq!(hsmd.database.admin_rows().await.len(), 1);
}
