//! The process is killed or stopped, a second one is started, its disk is full.

use hsmd_tests::{Hsmd, SmallDisk, Toll, until};
use nix::sys::signal::Signal;

use crate::DOCUMENT;
use crate::faults::database::behind_a_proxy;
use crate::faults::seen::{LOCK_PASSES, SOON, is_not_ready};
use crate::faults::{Seen, faults};

faults! {
    "Process and machine":
    killed: "kill -9 after each step of a rotation, one after the other", "nothing: the supervisor starts it";
    terminated: "SIGTERM", "nothing";
    second: "a second daemon is started on the same key log", "stops one of the two";
    taken_over: "the serving daemon of a standby pair is killed", "nothing";
    lease_lost: "the serving daemon of a standby pair loses the database", "nothing: the first to get it back serves";
    killed_in_init: "kill -9 after each step of `hsmd init`", "runs it again";
    journal_full: "the journal's disk is full", "makes room";
    journal_damaged: "the journal's file is damaged", "removes the file: the token holds a copy";
    journal_lost: "the journal is lost in the middle of a rotation", "imports the newest copy, or `serve --assume-crashed`";
}

async fn killed() -> Seen {
    let (hsmd, mut seen) = (Hsmd::initialised().await, Seen::default());
    let points = [
        "rotation::begun",
        "rotation::key-made",
        "rotation::signed",
        "rotation::journaled",
        "rotation::before-commit",
        "rotation::committed",
        "rotation::activated=1*off->return",
        "token::between-destroys",
        "rotation::retired",
    ];
    let mut daemon = hsmd.serve().await;
    let zero = daemon.head().await.event().id();
    let mut expected = zero.to_string();
    daemon.stop().await;
    for point in points {
        daemon = hsmd.launch_until(point);
        daemon.ready().await;
        daemon.rotate(&expected).await.expect_err("a daemon that dies answers nothing");
        daemon.died().await;
        daemon = hsmd.launch(&[]);
        seen.signs_within(SOON, &daemon).await;
        // The same call again: whoever did it, it is done once.
        expected = daemon.rotate(&expected).await.expect("a rotation").0.event().id().to_string();
        daemon.stop().await;
    }
    seen.said("Rotate", "the connection ends");
    seen.nothing_lost(&hsmd, 1 + points.len()).await
}

async fn terminated() -> Seen {
    let (hsmd, mut seen) = (Hsmd::initialised().await, Seen::default());
    let mut daemon = hsmd.launch_until("rotation::key-made=1*sleep(1000)");
    daemon.ready().await;
    let zero = daemon.head().await.event().id();
    let journal = hsmd.state_dir().join(format!("{zero}.json"));
    seen.signs(&daemon).await;
    let rotating = tokio::task::spawn_local({
        let rpc = hsmd.rpc();
        async move { rpc.rotate(zero.as_str()).await }
    });
    until("it rotates", async || {
        let begun = std::fs::read_to_string(&journal).unwrap().contains(r#""begun":1"#);
        (begun || rotating.is_finished()).then_some(())
    })
    .await;
    daemon.signal(Signal::SIGTERM);
    rotating.await.unwrap().expect("what was accepted is finished");
    let (status, log) = daemon.ended().await;
    assert!(status.success(), "{log}");
    seen.said("Rotate", "OK, to its end");
    let daemon = hsmd.launch(&[]);
    seen.signs_within(SOON, &daemon).await;
    seen.nothing_lost(&hsmd, 2).await
}

async fn second() -> Seen {
    let (hsmd, mut seen) = (Hsmd::initialised().await, Seen::default());
    let daemon = hsmd.serve().await;
    let words = "another hsmd holds the writer lock";
    hsmd.twin().launch(&[]).refused(words).await;
    seen.said("exit of the second", words);
    seen.signs(&daemon).await;
    daemon.rotate_head().await;
    seen.never_ill();
    seen.nothing_lost(&hsmd, 2).await
}

async fn taken_over() -> Seen {
    let (hsmd, mut seen) = (Hsmd::initialised().await.set("standby", true), Seen::default());
    let first = hsmd.serve().await;
    let twin = hsmd.twin();
    let second = twin.launch(&[]);
    until("the second stands by", async || {
        let refusal = second.sign(DOCUMENT).await.err()?;
        (refusal.reason == "STANDBY").then_some(())
    })
    .await;
    seen.refuses_to_sign(&second, "STANDBY").await;
    first.rotate_head().await;
    first.kill().await;
    seen.signs_within(LOCK_PASSES, &second).await;
    second.rotate_head().await;
    seen.nothing_lost(&twin, 3).await
}

async fn lease_lost() -> Seen {
    let (hsmd, proxy) = behind_a_proxy().await;
    let (hsmd, mut seen) = (hsmd.set("standby", true), Seen::default());
    let daemon = hsmd.serve().await;
    seen.signs(&daemon).await;
    proxy.take(Toll::Everything);
    until("its lease has expired", async || {
        let refusal = daemon.sign(DOCUMENT).await.err()?;
        (refusal.reason == "LOCK_LOST").then_some(())
    })
    .await;
    seen.refuses_to_sign(&daemon, "LOCK_LOST").await;
    is_not_ready(&daemon).await;
    proxy.take(Toll::Nothing);
    seen.signs_within(LOCK_PASSES, &daemon).await;
    daemon.rotate_head().await;
    seen.nothing_lost(&hsmd, 2).await
}

async fn killed_in_init() -> Seen {
    let (hsmd, seen) = (Hsmd::fresh().await, Seen::default());
    hsmd.migrate().await;
    for point in [
        "init::intent",
        "init::key-0",
        "init::key-1",
        "init::signed",
        "init::journaled",
        "rotation::before-commit",
        "init::committed",
        "init::journal",
        "init::done",
    ] {
        hsmd.run_until(point, &["init"]).await;
    }
    let identity = hsmd.init().await;
    assert_eq!(hsmd.history().await.identity().to_string(), identity);
    seen.goes_on_by_a_person(&hsmd, 2).await
}

async fn journal_damaged() -> Seen {
    let (hsmd, mut seen) = (Hsmd::initialised().await, Seen::default());
    let mut daemon = hsmd.launch_until("rotation::journaled");
    daemon.ready().await;
    let zero = daemon.head().await.event().id();
    daemon.rotate(zero.as_str()).await.expect_err("it dies");
    daemon.died().await;
    let file = hsmd.state_dir().join(format!("{zero}.json"));
    std::fs::write(&file, b"{").unwrap();
    hsmd.run(&["check"]).await.refused("is damaged");
    hsmd.launch(&[]).refused("is damaged").await;
    seen.said("check, exit", "the journal … is damaged");
    std::fs::remove_file(file).unwrap();
    let daemon = hsmd.serve().await;
    seen.signs(&daemon).await;
    let (one, performed) = daemon.rotate(zero.as_str()).await.unwrap();
    assert!(!performed && one.event().sequence_number() == 1, "the copy on the token had it");
    daemon.rotate_head().await;
    seen.takes_a_person();
    seen.nothing_lost(&hsmd, 3).await
}

async fn journal_full() -> Seen {
    let (hsmd, mut seen) = (Hsmd::initialised().await, Seen::default());
    let disk = SmallDisk::mount(64, "nobody-of-this-name");
    let state = disk.path().join("state");
    let mut moving = std::process::Command::new("cp");
    let moved = moving.arg("-a").args([&hsmd.state_dir(), &state]).status().unwrap();
    assert!(moved.success());
    let hsmd = hsmd.set("state_dir", state.display().to_string());
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await.event().id();
    disk.fill();
    seen.refuses_to_rotate(&daemon, zero.as_str(), "JOURNAL_UNAVAILABLE").await;
    seen.signs(&daemon).await;
    seen.forget_signatures_of(&daemon.head().await);
    let one = seen.taints(&daemon, zero.as_str(), false).await.event().id();
    seen.signs(&daemon).await;
    disk.make_room();
    seen.rotates_within(SOON, &daemon, one.as_str()).await;
    seen.signs(&daemon).await;
    let seen = seen.nothing_lost(&hsmd, 3).await;
    daemon.stop().await;
    seen
}

async fn journal_lost() -> Seen {
    let (hsmd, mut seen) = (Hsmd::initialised().await, Seen::default());
    let mut daemon = hsmd.launch_until("rotation::key-made");
    daemon.ready().await;
    let zero = daemon.head().await.event().id();
    daemon.rotate(zero.as_str()).await.expect_err("it dies");
    daemon.died().await;
    hsmd.forget_journal();
    let words = "the log may be one event old";
    hsmd.run(&["check"]).await.refused("the journal was lost in the middle of a rotation");
    hsmd.launch(&[]).refused(words).await;
    seen.said("check, exit", words);
    let mut daemon = hsmd.launch(&["--assume-crashed"]);
    daemon.ready().await;
    seen.signs(&daemon).await;
    daemon.rotate_head().await;
    seen.takes_a_person();
    seen.nothing_lost(&hsmd, 2).await
}
