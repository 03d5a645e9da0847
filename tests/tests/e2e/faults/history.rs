//! The log in the database is not the one that the daemon knows: changed, cut short, older, lost.

use hsmd_tests::{Daemon, Hsmd};

use crate::faults::seen::SOON;
use crate::faults::{Seen, faults};

faults! {
    "A log that is not what it was":
    row_changed: "an old row's signature is changed by the owner while the daemon runs", "repairs the row, or imports a copy into a new schema";
    row_changed_stopped: "an old row's signature is changed by the owner while the daemon is stopped", "repairs the row, or imports a copy into a new schema";
    head_changed: "the newest row is changed by the owner while the daemon runs", "repairs the row";
    truncated: "the log is truncated while the daemon runs", "nothing";
    truncated_stopped: "the log is truncated while the daemon is stopped", "starts it";
    older_while_running: "an older backup of the database is restored while the daemon runs", "nothing";
    older_while_stopped: "an older backup of the database is restored while the daemon is stopped", "starts it";
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
    let two = daemon.head().await.event().id();
    hsmd.database.tamper(TRUNCATE).await;
    heals(&mut seen, &hsmd, &daemon, 3).await;
    daemon.rotate(two.as_str()).await.expect("it rotates");
    seen.nothing_lost(&hsmd, 4).await
}

/// The daemon fills the table again, and callers notice nothing.
async fn heals(seen: &mut Seen, hsmd: &Hsmd, daemon: &Daemon, events: usize) {
    let full = async || hsmd.database.events().await.len() == events;
    seen.heals_within(SOON, async || full().await.then_some(())).await;
    seen.signs(daemon).await;
    let records = hsmd.database.admin_rows().await;
    assert!(records.iter().any(|record| record.action == "recovered"), "{records:?}");
    seen.said("the record", "recovered");
}

async fn truncated_stopped() -> Seen {
    let ((hsmd, daemon), seen) = (rotated(2).await, Seen::default());
    daemon.stop().await;
    hsmd.database.tamper(TRUNCATE).await;
    starts_and_heals(seen, &hsmd, 3).await
}

const LACKS: &str = "the database lacks events that are known here";

async fn starts_and_heals(mut seen: Seen, hsmd: &Hsmd, events: usize) -> Seen {
    let check = hsmd.run(&["check"]).await.good();
    assert!(check.contains(LACKS), "{check}");
    seen.said("check", LACKS);
    let daemon = hsmd.serve().await;
    heals(&mut seen, hsmd, &daemon, events).await;
    daemon.rotate_head().await;
    hsmd.run(&["check"]).await.good();
    seen.nothing_lost(hsmd, events + 1).await
}

pub(crate) const OLDER: &str = "the database is older than what is known here";

async fn older_while_running() -> Seen {
    let ((hsmd, daemon), mut seen) = (rotated(1).await, Seen::default());
    daemon.stop().await;
    let backup = hsmd.database.backup().await;
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    let three = daemon.rotate_head().await.event().id();
    hsmd.database.restore(&backup).await;
    heals(&mut seen, &hsmd, &daemon, 4).await;
    daemon.rotate(three.as_str()).await.expect("it rotates");
    seen.nothing_lost(&hsmd, 5).await
}

async fn older_while_stopped() -> Seen {
    let ((hsmd, daemon), seen) = (rotated(1).await, Seen::default());
    daemon.stop().await;
    let backup = hsmd.database.backup().await;
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    daemon.rotate_head().await;
    daemon.stop().await;
    hsmd.database.restore(&backup).await;
    starts_and_heals(seen, &hsmd, 4).await
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
