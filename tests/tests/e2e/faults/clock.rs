//! The clock is wrong: by libfaketime, for the daemon alone; its monotonic clock runs on, as it does
//! when somebody sets a machine's clock.

use std::path::PathBuf;
use std::time::Duration;

use hsmd_tests::{Hsmd, now, until};

use crate::faults::seen::SOON;
use crate::faults::{Seen, faults};

faults! {
    "Clock":
    set_back: "the clock is set back an hour while the daemon runs", "corrects the clock";
    set_forward: "the clock is set forward an hour while the daemon runs", "corrects the clock";
    behind_at_start: "the clock is an hour behind at start", "corrects the clock, starts again";
    ahead_at_start: "the clock is an hour ahead at start", "corrects the clock, starts again";
    within_a_millisecond: "two rotations within a millisecond", "nothing";
}

/// An hsmd whose clock can be set.
async fn with_a_clock() -> Hsmd {
    with_clock(Hsmd::initialised().await)
}

/// The same hsmd with a clock that can be set, for what is started from now on.
pub(crate) fn with_clock(hsmd: Hsmd) -> Hsmd {
    let file = hsmd.path("clock");
    set(&hsmd, "+0");
    hsmd.env("LD_PRELOAD", library())
        .env("FAKETIME_TIMESTAMP_FILE", file)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1")
        .env("TZ", "UTC")
}

/// Debian's libfaketime, in the folder of this machine's architecture.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").expect("/usr/lib");
    folders
        .map(|entry| entry.expect("an entry").path().join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists())
        .expect("the Debian package libfaketime")
}

/// Sets it: "+0" is right.
pub(crate) fn set(hsmd: &Hsmd, clock: &str) {
    hsmd_tests::write_private(&hsmd.path("clock"), clock);
}

async fn set_back() -> Seen {
    set_while_running("-3600").await
}

async fn set_forward() -> Seen {
    set_while_running("+3600").await
}

async fn set_while_running(clock: &str) -> Seen {
    let (hsmd, mut seen) = (with_a_clock().await, Seen::default());
    let daemon = hsmd.serve().await;
    let one = daemon.rotate_head().await;
    set(&hsmd, clock);
    seen.signs(&daemon).await;
    seen.refuses_to_rotate(&daemon, one.event().id().as_str(), "CLOCK_SUSPECT").await;
    seen.signs(&daemon).await;
    // No clock stamps it: it follows the head by a millisecond.
    let two = seen.taints(&daemon, one.event().id().as_str(), false).await.event().id();
    seen.forget_signatures_of(&one);
    seen.signs(&daemon).await;
    set(&hsmd, "+0");
    seen.rotates_within(SOON, &daemon, two.as_str()).await;
    seen.nothing_lost(&hsmd, 4).await
}

async fn behind_at_start() -> Seen {
    let (hsmd, mut seen) = (with_a_clock().await, Seen::default());
    set(&hsmd, "-3600");
    hsmd.run(&["check"]).await.refused("the key log in the database does not verify");
    hsmd.launch(&[]).refused("the key log in the database does not verify").await;
    seen.said("check, exit", "the key log in the database does not verify");
    set(&hsmd, "+0");
    seen.goes_on_by_a_person(&hsmd, 2).await
}

async fn ahead_at_start() -> Seen {
    let (hsmd, mut seen) = (with_a_clock().await, Seen::default());
    set(&hsmd, "+3600");
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await.event().id();
    seen.signs(&daemon).await;
    seen.refuses_to_rotate(&daemon, zero.as_str(), "CLOCK_SUSPECT").await;
    // One of the future could be kept, and shown when the log has moved on.
    for _ in 0..20 {
        assert!(daemon.head_statement().await.is_none());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    daemon.stop().await;
    set(&hsmd, "+0");
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    seen.takes_a_person();
    seen.nothing_lost(&hsmd, 2).await
}

async fn within_a_millisecond() -> Seen {
    let (hsmd, mut seen) = (with_a_clock().await, Seen::default());
    let daemon = hsmd.serve().await;
    // The frozen clock may differ from Postgres's by two seconds at the most: on a loaded machine it
    // takes more than one attempt.
    until("two events of one instant", async || {
        let text = now().to_string();
        set(&hsmd, &text[..19].replace('T', " "));
        let mut made = Vec::new();
        for _ in 0..3 {
            let head = daemon.head().await.event().id();
            let (event, _) = daemon.rotate(head.as_str()).await.ok()?;
            made.push(event.event().created_at().unix_millis());
        }
        set(&hsmd, "+0");
        made.windows(2).any(|pair| pair[1] == pair[0] + 1).then_some(())
    })
    .await;
    set(&hsmd, "+0");
    seen.signs(&daemon).await;
    seen.said("Rotate", "OK, a millisecond later");
    seen.never_ill();
    seen.one_history(&hsmd).await
}
