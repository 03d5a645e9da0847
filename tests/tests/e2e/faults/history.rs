//! The log in the database is not the one that the daemon knows: changed, cut short, older, lost.

use hsmd_tests::{Daemon, Hsmd, until};

use crate::faults::seen::SOON;
use crate::faults::{Seen, faults};

faults! {
    "A log that is not what it was":
    row_changed: "an old row's signature is changed by the owner while the daemon runs", "repairs the row, or imports a copy into a new schema";
    row_changed_stopped: "an old row's signature is changed by the owner while the daemon is stopped", "repairs the row, or imports a copy into a new schema";
    head_changed: "the newest row is changed by the owner while the daemon runs", "repairs the row";
    truncated: "the log is truncated while the daemon runs", "`hsmd import` of a copy";
    truncated_stopped: "the log is truncated while the daemon is stopped", "`hsmd import` of a copy";
    older_while_running: "an older backup of the database is restored while the daemon runs", "`hsmd import` of a copy; the daemon goes on by itself";
    older_while_stopped: "an older backup of the database is restored while the daemon is stopped", "`hsmd import` of a copy";
    writer_changes: "the daemon's own database role tries to change a row", "nothing";
}

/// An hsmd with its identity in the configuration and a daemon that has rotated `head` times.
pub(crate) async fn rotated(head: u32) -> (Hsmd, Daemon) {
    let hsmd = Hsmd::initialised().await;
    let identity = hsmd.init().await;
    let hsmd = hsmd.set("identity", identity);
    let daemon = hsmd.serve().await;
    for _ in 0..head {
        daemon.rotate_head().await;
    }
    (hsmd, daemon)
}

/// Writes a copy of the log and names the file.
pub(crate) fn copy(hsmd: &Hsmd, json: &str) -> String {
    let path = hsmd.path("copy.json");
    std::fs::write(&path, json).unwrap();
    path.display().to_string()
}

async fn row_changed() -> Seen {
    let ((hsmd, daemon), mut seen) = (rotated(2).await, Seen::default());
    let rows = hsmd.database.events().await;
    let (mine, other) = (rows[1].signature().to_string(), rows[0].signature().to_string());
    let set = |to| format!("UPDATE event SET signature = '{to}' WHERE sequence_number = 1");
    hsmd.database.tamper(&set(&other)).await;
    let two = notices(&mut seen, &daemon).await;
    hsmd.run(&["check"]).await.refused(CHANGED);
    seen.said("check", CHANGED);
    hsmd.run(&["export"]).await.refused("does not verify");
    hsmd.database.tamper(&set(&mine)).await;
    seen.rotates_within(SOON, &daemon, &two).await;
    hsmd.run(&["check"]).await.good();
    seen.nothing_lost(&hsmd, 4).await
}

const CHANGED: &str = "somebody has changed rows of the key log";
const NOT_OURS: &str = "not the one this daemon knows";

/// The daemon sees by itself that the rows are not those that it knows: it signs on and changes
/// nothing. The id of the head that it knows.
async fn notices(seen: &mut Seen, daemon: &Daemon) -> String {
    daemon.problem(NOT_OURS).await;
    seen.said("Status", NOT_OURS);
    seen.signs(daemon).await;
    let head = daemon.head().await.event().id().to_string();
    seen.refuses_to_rotate(daemon, &head, "DATABASE_UNAVAILABLE").await;
    seen.signs(daemon).await;
    head
}

async fn row_changed_stopped() -> Seen {
    let ((hsmd, daemon), mut seen) = (rotated(2).await, Seen::default());
    daemon.stop().await;
    let rows = hsmd.database.events().await;
    let (mine, other) = (rows[1].signature().to_string(), rows[0].signature().to_string());
    let set = |to| format!("UPDATE event SET signature = '{to}' WHERE sequence_number = 1");
    hsmd.database.tamper(&set(&other)).await;
    hsmd.run(&["check"]).await.refused(CHANGED);
    hsmd.launch(&[]).refused("does not verify").await;
    seen.said("check", CHANGED);
    seen.said("exit", "the key log in the database does not verify");
    hsmd.database.tamper(&set(&mine)).await;
    hsmd.run(&["check"]).await.good();
    seen.goes_on_by_a_person(&hsmd, 4).await
}

async fn head_changed() -> Seen {
    let ((hsmd, daemon), mut seen) = (rotated(1).await, Seen::default());
    let head = daemon.head().await;
    let text = head.text().to_owned();
    let other = text.replacen("{\"id\":\"E", "{\"id\":\"EE", 1);
    let other = format!("{}{}", &other[..51], &other[52..]);
    let change = |from: &str, to: &str| {
        format!("UPDATE event SET event_text = '{to}' WHERE event_text = '{from}'")
    };
    hsmd.database.tamper(&change(&text, &other)).await;
    daemon.problem("is not an event").await;
    seen.said("Status", "is not an event");
    seen.signs(&daemon).await;
    let id = head.event().id();
    seen.refuses_to_rotate(&daemon, id.as_str(), "DATABASE_UNAVAILABLE").await;
    seen.signs(&daemon).await;
    hsmd.run(&["check"]).await.refused(CHANGED);
    seen.said("check", CHANGED);
    hsmd.database.tamper(&change(&other, &text)).await;
    seen.rotates_within(SOON, &daemon, id.as_str()).await;
    seen.nothing_lost(&hsmd, 3).await
}

const TRUNCATE: &str = "TRUNCATE event, admin_action";
pub(crate) const LOST: &str = "the database is lost, or this is the wrong one";

async fn truncated() -> Seen {
    let ((hsmd, daemon), mut seen) = (rotated(2).await, Seen::default());
    let export = hsmd.export().await;
    hsmd.database.tamper(TRUNCATE).await;
    let two = notices(&mut seen, &daemon).await;
    hsmd.run(&["check"]).await.refused(LOST);
    seen.said("check", LOST);
    import_beside(&hsmd, &export).await;
    seen.rotates_within(SOON, &daemon, &two).await;
    seen.nothing_lost(&hsmd, 4).await
}

async fn truncated_stopped() -> Seen {
    let ((hsmd, daemon), mut seen) = (rotated(2).await, Seen::default());
    daemon.stop().await;
    let export = hsmd.export().await;
    hsmd.database.tamper(TRUNCATE).await;
    hsmd.run(&["check"]).await.refused(LOST);
    seen.said("check", LOST);
    hsmd.launch(&[]).refused("the log is lost or this is the wrong database").await;
    seen.said("exit", "the log is lost or this is the wrong database");
    import_and_go_on(&mut seen, &hsmd, &export).await;
    seen.nothing_lost(&hsmd, 4).await
}

/// Imports a copy while a daemon runs that does not know these rows: it has let the lock go, but takes
/// it for a moment whenever it looks again.
async fn import_beside(hsmd: &Hsmd, export: &str) {
    let copy = copy(hsmd, export);
    until("the import gets the lock", async || {
        hsmd.run(&["import", &copy]).await.status.success().then_some(())
    })
    .await;
}

/// Imports a copy, after which the daemon serves and rotates.
async fn import_and_go_on(seen: &mut Seen, hsmd: &Hsmd, export: &str) {
    hsmd.run(&["import", &copy(hsmd, export)]).await.good();
    hsmd.run(&["check"]).await.good();
    let daemon = hsmd.serve().await;
    seen.signs(&daemon).await;
    daemon.rotate_head().await;
    seen.takes_a_person();
}

pub(crate) const OLDER: &str = "the database is older than what is known here";

async fn older_while_running() -> Seen {
    let ((hsmd, daemon), mut seen) = (rotated(1).await, Seen::default());
    daemon.stop().await;
    let backup = hsmd.database.backup().await;
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    let three = daemon.rotate_head().await.event().id();
    let export = hsmd.export().await;
    hsmd.database.restore(&backup).await;
    assert_eq!(notices(&mut seen, &daemon).await, three.as_str());
    hsmd.run(&["check"]).await.refused(OLDER);
    seen.said("check", OLDER);
    import_beside(&hsmd, &export).await;
    seen.rotates_within(SOON, &daemon, three.as_str()).await;
    seen.nothing_lost(&hsmd, 5).await
}

async fn older_while_stopped() -> Seen {
    let ((hsmd, daemon), mut seen) = (rotated(1).await, Seen::default());
    daemon.stop().await;
    let backup = hsmd.database.backup().await;
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    daemon.rotate_head().await;
    daemon.stop().await;
    let export = hsmd.export().await;
    hsmd.database.restore(&backup).await;
    hsmd.run(&["check"]).await.refused(OLDER);
    seen.said("check", OLDER);
    hsmd.launch(&[]).refused("the journal knows event 3").await;
    seen.said("exit", "the log ends at event 1, the journal knows event 3");
    import_and_go_on(&mut seen, &hsmd, &export).await;
    seen.nothing_lost(&hsmd, 5).await
}

async fn writer_changes() -> Seen {
    let ((hsmd, daemon), mut seen) = (rotated(1).await, Seen::default());
    for sql in [
        "UPDATE event SET signature = signature",
        "DELETE FROM event",
        "TRUNCATE event, admin_action",
        "ALTER TABLE event DISABLE TRIGGER ALL",
    ] {
        hsmd.database.execute(false, sql).await.expect_err(sql);
    }
    seen.said("Postgres", "permission denied");
    seen.signs(&daemon).await;
    daemon.rotate_head().await;
    seen.never_ill();
    seen.nothing_lost(&hsmd, 3).await
}
