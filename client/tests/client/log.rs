//! VerifiedLog over gRPC: follows, remembers, refuses, goes stale.

use std::time::Duration;

use hsmd_chain::testing::{Draft, LogBuilder, SoftwareKey};
use hsmd_chain::{KeyLog, SignedEvent, SignedPayload};
use hsmd_client::{CheckError, Clock, LogOptions, LogSource, Problem, TerminalError, VerifiedLog};
use hsmd_tests::peer::Peer;
use hsmd_tests::{now, soon, until};
use parking_lot::Mutex;
use std::sync::Arc;

use crate::{client, follow};

const WINDOW: Duration = Duration::from_secs(12 * 3600);
const HOUR: Duration = Duration::from_secs(3600);

async fn head_is(log: &VerifiedLog, number: u32) {
    let mut changes = log.changes();
    let reached = |log: &Option<KeyLog>| {
        log.as_ref().is_some_and(|log| log.position().sequence_number == number)
    };
    soon(changes.wait_for(reached)).await.expect("the log lives");
}

#[tokio::test]
async fn follows_rotations_and_drops_a_tainted_generation() {
    let peer = Peer::start(LogBuilder::of_length("follow", 5));
    let log = follow(&peer, LogOptions::default());
    let first = soon(log.ready()).await.expect("ready");
    assert_eq!(first.events().len(), 5);

    let key = *SoftwareKey::from_seed("service").public_key();
    let endorsed = |number| {
        let expiration = now().saturating_add(HOUR);
        SignedPayload::from(peer.state.log.borrow().endorse(number, "access", &key, expiration))
    };
    let by_4 = endorsed(4);
    let verified = log.check_endorsement(&by_4, "access", &key, WINDOW).expect("good");

    peer.state.append(false);
    head_is(&log, 5).await;
    log.recheck_endorsement(&verified, WINDOW).expect("within its window");
    let by_5 = endorsed(5);
    log.check_endorsement(&by_5, "access", &key, WINDOW).expect("good");

    peer.state.append(true);
    head_is(&log, 6).await;
    log.check_endorsement(&by_5, "access", &key, WINDOW).expect_err("tainted");
    log.recheck_endorsement(&verified, WINDOW).expect("the mark is not about generation 4");
    let other = SoftwareKey::from_seed("other");
    log.check_endorsement(&by_4, "access", other.public_key(), WINDOW).expect_err("another key");
    log.check_endorsement(&by_4, "response", &key, WINDOW).expect_err("another purpose");
}

#[tokio::test]
async fn misses_nothing_while_the_daemon_is_away() {
    let mut peer = Peer::start(LogBuilder::new("away"));
    let log = follow(&peer, LogOptions::default());
    soon(log.ready()).await.expect("ready");
    peer.stop().await;
    until("a problem", async || log.problem().is_some()).await;
    peer.state.append(false);
    peer.state.append(true);
    peer.resume();
    head_is(&log, 2).await;
    until("no problem", async || log.problem().is_none()).await;
    assert!(log.terminal_error().is_none());
}

#[tokio::test]
async fn is_stale_without_contact_and_heals() {
    let mut peer = Peer::start(LogBuilder::new("stale"));
    let log = follow(&peer, LogOptions::default().max_staleness(Duration::from_millis(300)));
    assert!(matches!(log.fresh(), Err(CheckError::Stale { since: None })));
    soon(log.ready()).await.expect("ready");

    // A feed that is open but silent is as bad as none.
    peer.state.frozen.send_replace(true);
    until("the log is stale", async || {
        matches!(log.fresh(), Err(CheckError::Stale { since: Some(_) }))
    })
    .await;
    peer.state.frozen.send_replace(false);
    soon(log.ready()).await.expect("heals");

    // So is one whose heartbeats name a head that its events don't bear out.
    peer.state.lying.send_replace(true);
    until("the log is stale", async || {
        matches!(log.fresh(), Err(CheckError::Stale { since: Some(_) }))
    })
    .await;
    assert!(matches!(log.problem().as_deref(), Some(Problem::Heartbeat)));
    peer.state.lying.send_replace(false);
    soon(log.ready()).await.expect("heals");

    peer.stop().await;
    until("the log is stale", async || {
        matches!(log.fresh(), Err(CheckError::Stale { since: Some(_) }))
    })
    .await;
    assert!(log.snapshot().is_some());
    peer.resume();
    soon(log.ready()).await.expect("heals");
}

#[tokio::test]
async fn a_rollback_ends_the_following() {
    for shorter in [1, 2] {
        let whole = LogBuilder::of_length("rollback", 4);
        let mut peer = Peer::start(whole.clone());
        let short = Duration::from_millis(300);
        let options =
            LogOptions::default().max_staleness(short).rollback_grace(Duration::from_secs(1));
        let log = follow(&peer, options);
        soon(log.ready()).await.expect("ready");
        peer.stop().await;
        peer.state.log.send_replace(whole.rewound_to(4 - shorter));
        peer.resume();
        // A moment of it is forgiven, as a standby that lags deserves.
        until("the log is behind", async || {
            matches!(log.problem().as_deref(), Some(Problem::Behind { .. }))
        })
        .await;
        peer.stop().await;
        peer.state.log.send_replace(whole.clone());
        peer.resume();
        until("no problem", async || log.problem().is_none()).await;
        assert!(log.terminal_error().is_none());

        peer.stop().await;
        peer.state.log.send_replace(whole.rewound_to(4 - shorter));
        peer.resume();
        let error = soon(log.wait_terminal_error()).await;
        assert!(matches!(*error, TerminalError::RolledBack { head_sequence: 3 }), "{error}");
        // It stays on its branch, but not for ever.
        assert_eq!(log.snapshot().expect("a log").events().len(), 4);
        until("the following has ended", async || {
            matches!(log.fresh(), Err(CheckError::Terminal(_)))
        })
        .await;
    }
}

#[tokio::test]
async fn a_fork_ends_the_following_and_names_both_events() {
    let ours = LogBuilder::of_length("fork", 3);
    let theirs = ours.stolen_at(2, "thief").append(now(), false);
    for theirs in [theirs.clone(), theirs.rotate_now()] {
        let mut peer = Peer::start(ours.clone());
        let log = follow(&peer, LogOptions::default());
        soon(log.ready()).await.expect("ready");
        peer.stop().await;
        peer.state.log.send_replace(theirs.clone());
        peer.resume();
        match &*soon(log.wait_terminal_error()).await {
            TerminalError::Forked { sequence_number: 2, ours: known, theirs: found } => {
                assert_eq!((*known, *found), (ours.id(2), theirs.id(2)));
            }
            other => panic!("{other}"),
        }
    }
}

trait RotateNow {
    fn rotate_now(&self) -> Self;
}

impl RotateNow for LogBuilder {
    fn rotate_now(&self) -> Self {
        let next = self.head().event().created_at().saturating_add(Duration::from_millis(1));
        self.clone().append(now().max(next), false)
    }
}

#[tokio::test]
async fn another_identity_and_a_missing_anchor_event_are_refused() {
    let peer = Peer::start(LogBuilder::of_length("one", 2));
    let other = LogBuilder::of_length("two", 3);
    let longer = peer.state.log.borrow().clone().rotate();
    for anchor in [other.anchor(), longer.log().anchor()] {
        let source = LogSource::Grpc(client(&peer));
        let log = VerifiedLog::follow(source, anchor, LogOptions::default()).expect("starts");
        let error = soon(log.ready()).await.expect_err("refused");
        assert!(matches!(*error, TerminalError::Anchor(_)), "{error}");
        assert!(log.snapshot().is_none());
    }
}

#[tokio::test]
async fn an_event_that_does_not_verify_is_tried_again_and_never_taken() {
    let good = LogBuilder::of_length("bad", 2);
    let next = good.clone().rotate_now();
    let event = next.head().event();
    let by_the_wrong_key =
        SignedEvent::new(event.clone(), good.key(0).sign(next.head().text().as_bytes()));
    // Properly hashed and signed by the committed key, after an event that we don't have.
    let elsewhere = format!("\"{}\"", LogBuilder::new("elsewhere").identity());
    let draft = Draft::of(event).set("previous", &elsewhere, "createdAt").sealed();
    let (text, signature) = draft.signed(next.key(2));
    let misplaced = SignedEvent::parse(&text, signature.as_str()).expect("well formed");

    let peer = Peer::start(good);
    let log = follow(&peer, LogOptions::default());
    soon(log.ready()).await.expect("ready");
    for hostile in [by_the_wrong_key, misplaced] {
        peer.state.hostile.send_replace(Some(hostile));
        until("a bad event", async || matches!(log.problem().as_deref(), Some(Problem::Event(_))))
            .await;
        assert_eq!(log.snapshot().expect("a log").events().len(), 2);
        assert!(log.terminal_error().is_none());
        peer.state.hostile.send_replace(None);
        until("no problem", async || log.problem().is_none()).await;
    }
    peer.state.log.send_replace(next);
    head_is(&log, 2).await;
}

#[tokio::test]
async fn a_taint_from_the_future_counts_now_and_its_event_later() {
    let time = Arc::new(Mutex::new(now()));
    let clock = {
        let time = Arc::clone(&time);
        Clock::new(move || *time.lock())
    };
    let peer = Peer::start(LogBuilder::new("future"));
    let options = LogOptions { clock, ..LogOptions::default() };
    let log = follow(&peer, options.clone());
    soon(log.ready()).await.expect("ready");
    let key = *SoftwareKey::from_seed("service").public_key();
    let expiration = now().saturating_add(2 * HOUR);
    let endorsed = peer.state.log.borrow().endorse(0, "access", &key, expiration).into();
    let check = |log: &VerifiedLog| log.check_endorsement(&endorsed, "access", &key, WINDOW);
    check(&log).expect("good");

    let mut changes = log.changes();
    changes.mark_unchanged();
    let ahead = now().saturating_add(HOUR);
    peer.state.log.send_modify(|log| *log = log.clone().append(ahead, true));
    soon(changes.changed()).await.expect("the early taint is told");
    assert!(matches!(check(&log), Err(CheckError::Endorsement(_))));
    assert_eq!(log.snapshot().expect("a log").events().len(), 1);

    // A first contact sees the same.
    let fresh = follow(&peer, options);
    soon(fresh.ready()).await.expect("ready");
    check(&fresh).expect_err("tainted");

    *time.lock() = ahead;
    for log in [log, fresh] {
        head_is(&log, 1).await;
        check(&log).expect_err("still tainted");
    }
}

#[tokio::test]
async fn the_kept_log_outlives_a_restart() {
    let whole = LogBuilder::of_length("kept", 3);
    let mut peer = Peer::start(whole.clone());
    let path = peer.folder().join("log.json");
    let options = LogOptions::default().path(&path).rollback_grace(Duration::ZERO);
    let log = follow(&peer, options.clone());
    soon(log.ready()).await.expect("ready");
    until("the log is kept", async || path.exists()).await;
    peer.state.append(false);
    let expected = || peer.state.log.borrow().to_json();
    until("the log is kept", async || {
        std::fs::read_to_string(&path).is_ok_and(|kept| kept == expected())
    })
    .await;
    drop(log);

    // What was kept refuses an older log, though its identity is right.
    peer.stop().await;
    peer.state.log.send_replace(whole);
    peer.resume();
    let log = follow(&peer, options.clone());
    assert_eq!(log.snapshot().expect("kept").events().len(), 4);
    assert!(matches!(
        log.fresh(),
        Err(CheckError::Stale { since: None } | CheckError::Terminal(_))
    ));
    let error = soon(log.ready()).await.expect_err("rollback");
    assert!(matches!(*error, TerminalError::RolledBack { head_sequence: 3 }), "{error}");

    std::fs::write(&path, "[").expect("damaged");
    let source = LogSource::Grpc(client(&peer));
    let anchor = peer.state.log.borrow().anchor();
    let error = VerifiedLog::follow(source, anchor, options).expect_err("damaged");
    assert!(error.to_string().contains("log.json"), "{error}");
}

#[tokio::test]
async fn an_anchor_may_be_newer_than_the_kept_log() {
    let whole = LogBuilder::of_length("newer", 3);
    let path = tempfile::NamedTempFile::new().expect("a file").into_temp_path();
    let keep = || std::fs::write(&path, whole.rewound_to(1).to_json()).expect("written");
    let open = |peer: &Peer, anchor| {
        let options = LogOptions::default().path(&path).rollback_grace(Duration::ZERO);
        VerifiedLog::follow(LogSource::Grpc(client(peer)), anchor, options).expect("follows")
    };
    let peer = Peer::start(whole.clone());
    keep();
    let log = open(&peer, whole.log().anchor());
    assert_eq!(soon(log.ready()).await.expect("ready").events().len(), 3);

    // The same for a source that lacks the anchor's event, or has another in its place.
    let lacks = Peer::start(whole.rewound_to(2));
    keep();
    let error = soon(open(&lacks, whole.log().anchor()).ready()).await.expect_err("refused");
    assert!(matches!(*error, TerminalError::RolledBack { head_sequence: 2 }), "{error}");
    let other = Peer::start(whole.stolen_at(2, "thief").append(now(), false));
    keep();
    let error = soon(open(&other, whole.log().anchor()).ready()).await.expect_err("refused");
    assert!(matches!(*error, TerminalError::Anchor(_)), "{error}");
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_told_and_does_no_harm() {
    let peer = Peer::start(LogBuilder::new("unwritable"));
    let log = follow(&peer, LogOptions::default().path(peer.folder().join("missing/log.json")));
    soon(log.ready()).await.expect("ready");
    until("the log is not kept", async || {
        matches!(log.problem().as_deref(), Some(Problem::Store { .. }))
    })
    .await;
    peer.state.append(false);
    head_is(&log, 1).await;
}

#[tokio::test]
async fn the_last_clone_dropped_ends_the_following() {
    let mut peer = Peer::start(LogBuilder::new("drop"));
    let log = follow(&peer, LogOptions::default());
    soon(log.ready()).await.expect("ready");
    let second = log.clone();
    drop(log);
    peer.state.append(false);
    head_is(&second, 1).await;
    drop(second);
    // Graceful: it waits for the connections, which only a follower would keep open.
    soon(peer.stop()).await;
}
