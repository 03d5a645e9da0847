//! The start-up table, row by row, on the real daemon: `serve` serves or refuses, and `check` says the
//! same beforehand.

use hsmd_softhsm::Class;
use hsmd_tests::{Hsmd, for_each_case};

use crate::system::{DOCUMENT, WINDOW};

/// What a row ends in.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// `serve` is ready and rotates.
    Serve,
    /// `serve` signs, but says this and does not rotate.
    SignOnly(&'static str),
    /// `serve` refuses with these words.
    Refuse(&'static str),
}
use Then::{Refuse, Serve, SignOnly};

const OLD: &str = "the log is older than the token";
const ONE_OLD: &str = "the log may be one event old";
const NO_NEXT: &str = "the committed next key is missing on the token or differs";

/// How the token of a log whose head is event 1, with its keys 1 and 2, is changed.
type Arrangement = fn(&Hsmd);

#[tokio::test]
async fn with_a_log_each_row_is_as_designed() {
    let rows: [(&str, Arrangement, Then); 13] = [
        ("as it should be", |_| {}, Serve),
        ("a duplicate of n", |h| h.token.duplicate(1), Serve),
        ("a duplicate of n+1", |h| h.token.duplicate(2), Serve),
        ("a leftover", |h| drop(h.token.generate(0)), Serve),
        ("n+2", |h| drop(h.token.generate(3)), Refuse(ONE_OLD)),
        ("beyond n+2", |h| drop(h.token.generate(4)), Refuse(OLD)),
        ("no n+1", |h| h.token.destroy(2), SignOnly(NO_NEXT)),
        ("half of n+1", |h| h.token.destroy_half(2, Class::Private), SignOnly(NO_NEXT)),
        (
            "another n+1",
            |h| {
                h.token.destroy(2);
                h.token.generate(2);
            },
            SignOnly(NO_NEXT),
        ),
        ("no n", |h| h.token.destroy(1), Refuse(OLD)),
        ("half of n", |h| h.token.destroy_half(1, Class::Private), Refuse(OLD)),
        (
            "neither",
            |h| {
                h.token.destroy(1);
                h.token.destroy(2);
            },
            Refuse("this is the wrong token"),
        ),
        (
            "keys of another identity",
            |h| {
                for number in [1, 2] {
                    h.token.destroy(number);
                    h.token.generate(number);
                }
            },
            Refuse("this is the wrong token"),
        ),
    ];
    for_each_case(rows, |(row, arrange, then)| async move {
        let hsmd = Hsmd::initialised().await;
        let daemon = hsmd.serve().await;
        daemon.rotate_head().await;
        daemon.stop().await;
        arrange(&hsmd);
        assert_then(&hsmd, row, then).await;
    })
    .await;
}

async fn assert_then(hsmd: &Hsmd, row: &str, then: Then) {
    let check = hsmd.run(&["check"]).await;
    match then {
        Serve => {
            check.good();
            let daemon = hsmd.serve().await;
            assert_eq!(hsmd.token.private_keys().first(), Some(&1), "{row}: leftovers go first");
            daemon.rotate_head().await;
            assert_eq!(hsmd.token.private_keys().first(), Some(&2), "{row}: copies and all");
            assert_eq!(hsmd.history().await.events().len(), 3, "{row}");
        }
        SignOnly(words) => {
            check.refused(words);
            hsmd.run(&["check", "--before-serve"]).await.good();
            let daemon = hsmd.serve().await;
            let signed = daemon.sign(DOCUMENT).await.unwrap();
            let status = daemon.problem(words).await;
            assert_eq!(status.state(), hsmd_proto::v1::ServingState::Degraded, "{row}");
            let head = daemon.head().await.event().id();
            for refused in [daemon.rotate(head.as_str()).await, daemon.taint(head.as_str()).await] {
                assert_eq!(refused.unwrap_err().reason, "NEXT_KEY_MISSING", "{row}");
            }
            daemon.sign(DOCUMENT).await.expect("a refused taint leaves the key as it was");
            let log = hsmd.history().await;
            signed.verify(&log, hsmd_tests::now(), WINDOW).unwrap();
            assert_eq!(log.events().len(), 2, "{row}");
        }
        Refuse(words) => {
            check.refused(words);
            hsmd.run(&["check", "--before-serve"]).await.refused(words);
            hsmd.launch(&[]).refused_until_a_person_acts(words).await;
            assert_eq!(hsmd.history().await.events().len(), 2, "{row}");
        }
    }
}

/// Rule 9 of ownership: a key n+2 is never adopted.
#[tokio::test]
async fn a_key_that_no_rotation_of_ours_began_refuses_the_next() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await.event().id();
    let foreign = hsmd.token.generate(2);
    for _ in 0..2 {
        let refusal = daemon.rotate(zero.as_str()).await.unwrap_err();
        assert!(
            refusal.message.contains("that no rotation of this daemon has begun"),
            "{refusal:?}"
        );
    }
    assert!(hsmd.token.objects().contains(&foreign), "it stays");
    hsmd.token.destroy(2);
    daemon.rotate_head().await;
    assert_eq!(hsmd.history().await.events().len(), 2);
}

#[tokio::test]
async fn without_a_log_or_keys_init_is_to_be_run() {
    let hsmd = Hsmd::fresh().await;
    hsmd.migrate().await;
    hsmd.run(&["check"]).await.refused("run `hsmd init`");
    hsmd.launch(&[]).refused_until_a_person_acts("run `hsmd init`").await;
}

#[tokio::test]
async fn an_interrupted_init_is_to_be_run_again() {
    let hsmd = Hsmd::fresh().await;
    hsmd.migrate().await;
    hsmd.run_until("init::key-0", &["init"]).await;
    hsmd.run(&["check"]).await.refused("run it again");
    hsmd.launch(&[]).refused_until_a_person_acts("run it again").await;
    // Half a key and a double one are no keys to adopt.
    hsmd.token.destroy_half(0, Class::Private);
    hsmd.token.generate(1);
    hsmd.token.duplicate(1);
    hsmd.init().await;
    assert_eq!(hsmd.token.private_keys(), [0, 1]);
    hsmd.serve().await.rotate_head().await;
    assert_eq!(hsmd.history().await.events().len(), 2);
}

#[tokio::test]
async fn keys_without_a_log_are_not_overwritten() {
    let hsmd = Hsmd::fresh().await;
    hsmd.migrate().await;
    hsmd.token.generate(0);
    let before = hsmd.token.objects();
    for (command, code) in [("check", 1), ("serve", 65), ("init", 1)] {
        hsmd.run(&[command]).await.ended(code, "the log is lost or this is the wrong database");
    }
    assert_eq!(hsmd.token.objects(), before);
}

#[tokio::test]
async fn a_begun_rotation_needs_its_journal_or_a_person() {
    let hsmd = Hsmd::initialised().await;
    let mut daemon = hsmd.launch_until("rotation::key-made");
    daemon.ready().await;
    let zero = daemon.head().await.event().id();
    daemon.rotate(zero.as_str()).await.unwrap_err();
    daemon.died().await;
    hsmd.run(&["check"]).await.good();
    hsmd.forget_journal();
    hsmd.run(&["check"]).await.refused(ONE_OLD);
    hsmd.launch(&[]).refused_until_a_person_acts(ONE_OLD).await;

    let mut daemon = hsmd.launch(&["--assume-crashed"]);
    daemon.ready().await;
    daemon.rotate_head().await;
    daemon.stop().await;
    hsmd.serve().await.rotate_head().await;
    assert_eq!(hsmd.history().await.events().len(), 3);
}

#[tokio::test]
async fn a_restored_backup_of_the_log_is_refused_until_a_copy_is_imported() {
    let hsmd = Hsmd::initialised().await;
    let identity = hsmd.init().await;
    let backup = hsmd.database.backup().await;
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    daemon.rotate_head().await;
    daemon.stop().await;
    std::fs::write(hsmd.path("copy"), hsmd.export().await).unwrap();

    let hsmd = hsmd.with_database(backup).set("identity", identity);
    hsmd.forget_log();
    let by_the_journal = "the log ends at event 0, the journal knows event 2";
    hsmd.run(&["check"]).await.refused(by_the_journal);
    hsmd.launch(&[]).refused_until_a_person_acts(by_the_journal).await;
    hsmd.forget_journal();
    hsmd.run(&["check"]).await.refused(OLD);
    hsmd.launch(&[]).refused_until_a_person_acts(OLD).await;
    let copy = hsmd.path("copy").display().to_string();
    hsmd.run(&["import", &copy]).await.good();
    hsmd.serve().await.rotate_head().await;
    assert_eq!(hsmd.history().await.events().len(), 4);
}

#[tokio::test]
async fn a_log_one_event_old_takes_it_from_the_journal_or_refuses() {
    for journal_is_lost in [false, true] {
        let hsmd = Hsmd::initialised().await.set("retire", "keep");
        let backup = hsmd.database.backup().await;
        let daemon = hsmd.serve().await;
        let one = daemon.rotate_head().await;
        daemon.stop().await;
        let hsmd = hsmd.with_database(backup);
        if journal_is_lost {
            hsmd.forget_journal();
            hsmd.run(&["check"]).await.refused(ONE_OLD);
            hsmd.launch(&[]).refused_until_a_person_acts(ONE_OLD).await;
        } else {
            hsmd.run(&["check"]).await.good();
            assert_eq!(hsmd.serve().await.head().await, one, "as it was, not made anew");
            assert_eq!(hsmd.history().await.events().len(), 2);
        }
    }
}
