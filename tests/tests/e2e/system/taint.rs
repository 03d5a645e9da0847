//! A taint needs nothing but the token: it is made, published and answered while the database is away,
//! hangs, takes no writes or holds a row that is not ours, and whatever the clock says. The row follows by
//! itself, as the same text.

use std::time::{Duration, Instant};

use hsmd_chain::SignedEvent;
use hsmd_fault::Quirk;
use hsmd_proto::v1::{TaintRequest, TaintResponse};
use hsmd_tests::{Daemon, Hsmd, Proxy, Refusal, Rpc, Toll, for_each_case, now, until, within};

use crate::faults::clock::{set, with_clock};
use crate::faults::database::behind_a_proxy;
use crate::faults::seen::SOON;
use crate::system::{DOCUMENT, WINDOW, endorse, verified};
use crate::told;

/// What a statement may take before its connection counts as lost: a taint does not wait that long.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// What is wrong while the key is tainted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// Connections end, and no new ones are taken.
    Away,
    /// Nothing passes, and nobody is told.
    Hanging,
    /// A demoted primary.
    ReadOnly,
    /// The writer's role has put something in the place of the next event.
    JunkRow,
    /// The daemon's clock, not the database's.
    ClockAhead,
}

impl Trouble {
    const ALL: [Self; 5] =
        [Self::Away, Self::Hanging, Self::ReadOnly, Self::JunkRow, Self::ClockAhead];

    async fn begin(self, hsmd: &Hsmd, proxy: &Proxy, head: &SignedEvent) {
        match self {
            Self::Away => proxy.take(Toll::Connections),
            Self::Hanging => proxy.take(Toll::Everything),
            Self::ReadOnly => {
                hsmd.database.set_read_only(true).await;
                hsmd.database.cut_connections().await;
            }
            Self::JunkRow => {
                hsmd.database.execute(false, &junk(head)).await.expect("what a writer may do");
            }
            Self::ClockAhead => set(hsmd, "+3600"),
        }
    }

    async fn end(self, hsmd: &Hsmd, proxy: &Proxy) {
        match self {
            Self::Away | Self::Hanging => proxy.take(Toll::Nothing),
            Self::ReadOnly => hsmd.database.set_read_only(false).await,
            Self::JunkRow => {
                let sql = format!("DELETE FROM event WHERE id = '{JUNK_ID}'");
                hsmd.database.tamper(&sql).await;
            }
            Self::ClockAhead => set(hsmd, "+0"),
        }
    }

    /// Whether the database has the event only when the trouble is over.
    fn keeps_rows_out(self) -> bool {
        self != Self::ClockAhead
    }

    /// Whether the daemon knows no time that it may stamp an event with.
    fn hides_the_time(self) -> bool {
        matches!(self, Self::Away | Self::Hanging | Self::ClockAhead)
    }
}

pub(crate) const JUNK_ID: &str = "EAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A row of an event's shape after `head`, which no key signed.
pub(crate) fn junk(head: &SignedEvent) -> String {
    let (event, signature) = (head.event(), head.signature());
    let (prefix, number, previous) = (event.prefix(), event.sequence_number() + 1, event.id());
    let (key, hash) = (event.public_key(), event.rotation_hash());
    format!(
        r#"INSERT INTO event (event_text, signature) VALUES ('{{"id":"{JUNK_ID}","prefix":"{prefix}","sequenceNumber":{number},"previous":"{previous}","createdAt":"2030-01-01T00:00:00.000Z","purpose":"key-authorization","publicKey":"{key}","rotationHash":"{hash}"}}', '{signature}')"#
    )
}

async fn hsmd_with_a_clock() -> (Hsmd, Proxy) {
    let (hsmd, proxy) = behind_a_proxy().await;
    (with_clock(hsmd), proxy)
}

async fn taint(rpc: &Rpc, expected: &SignedEvent) -> Result<TaintResponse, Refusal> {
    let expected_generation_id = expected.event().id().to_string();
    let request = TaintRequest { expected_generation_id, reason: "a test taints".into() };
    Ok(rpc.admin.clone().taint(request).await?.into_inner())
}

#[tokio::test]
async fn a_taint_needs_nothing_but_the_token() {
    for_each_case(Trouble::ALL, taints_in_trouble).await;
}

async fn taints_in_trouble(trouble: Trouble) {
    let (hsmd, proxy) = hsmd_with_a_clock().await;
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await;
    let before = endorse(&daemon).await;
    trouble.begin(&hsmd, &proxy, &zero).await;

    let asked = Instant::now();
    let answer = taint(&daemon, &zero).await.unwrap_or_else(|e| panic!("{trouble:?}: {e:?}"));
    assert!(asked.elapsed() < STATEMENT_TIMEOUT, "{trouble:?}: {:?}", asked.elapsed());
    assert!(answer.performed && answer.key_destroyed, "{trouble:?}: {answer:?}");
    assert_eq!(answer.pending, trouble.keeps_rows_out(), "{trouble:?}");
    assert_eq!(hsmd.token.private_keys(), [1, 2], "{trouble:?}: key 0 is gone");
    let one = daemon.head().await;
    assert!(one.event().taint_previous(), "{trouble:?}: readers have it");
    assert_eq!(one.text(), answer.event.unwrap().text);
    if trouble.hides_the_time() {
        let age = |event: &SignedEvent| event.event().created_at().unix_millis();
        assert_eq!(age(&one), age(&zero) + 1, "{trouble:?}");
    }
    let after = daemon.sign(DOCUMENT).await.expect("the next key signs");
    if trouble.keeps_rows_out() {
        let refusal = daemon.rotate(one.event().id().as_str()).await.unwrap_err();
        assert_eq!(refusal.reason, "DATABASE_UNAVAILABLE", "{trouble:?}");
        daemon.problem("event 1 is not in the database yet").await;
    }
    let again = taint(&daemon, &zero).await.unwrap();
    assert!(!again.performed && again.pending == trouble.keeps_rows_out(), "{trouble:?}");
    // A second one need not wait either.
    let second = taint(&daemon, &one).await.unwrap();
    assert_eq!((second.pending, second.sequence_number), (trouble.keeps_rows_out(), 2));
    assert_eq!(hsmd.token.private_keys(), [2, 3], "{trouble:?}");

    trouble.end(&hsmd, &proxy).await;
    rows_follow(&hsmd, 3).await;
    daemon.rotate_head().await;
    let log = hsmd.history().await;
    assert_eq!(log.events().len(), 4, "{trouble:?}");
    assert_eq!(log.events()[1].text(), one.text(), "{trouble:?}");
    assert!(verified(&before, &log).is_none(), "{trouble:?}");
    after.verify(&log, now(), WINDOW).expect_err("generation 1 is tainted, too");
    let actions = hsmd.database.admin_rows().await;
    let actions: Vec<_> = actions.iter().map(|row| (&*row.action, &*row.reason)).collect();
    let tainted = ("taint", "a test taints");
    assert_eq!(actions[1..], [tainted, tainted, ("rotate", "a test rotates")], "{trouble:?}");
}

#[tokio::test]
async fn with_the_host_lost_as_well_the_event_is_in_the_administrators_file() {
    let (hsmd, proxy) = hsmd_with_a_clock().await;
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await;
    let before = endorse(&daemon).await;
    proxy.take(Toll::Connections);
    let said = hsmd.hsmctl(&["taint", "--reason", "stolen"]).await.good();
    assert!(said.contains("NOT in the database yet"), "{said}");
    assert!(said.contains("hsmd-taint-1.json"), "{said}");
    let one = daemon.head().await;
    // A file that is there is replaced as a whole, and so is never half of one.
    std::fs::write(hsmd.path("second.json"), "older").unwrap();
    std::fs::hard_link(hsmd.path("second.json"), hsmd.path("kept.json")).unwrap();
    let second = ["taint", "--reason", "stolen", "--event-file", "second.json", "--output", "json"];
    let said = hsmd.hsmctl(&second).await.good();
    assert!(said.contains(r#""pending":true"#) && said.contains("second.json"), "{said}");
    assert_eq!(std::fs::read_to_string(hsmd.path("kept.json")).unwrap(), "older");
    assert!(!hsmd.path("second.json.new").exists());
    daemon.kill().await;
    hsmd.forget_journal();
    proxy.take(Toll::Nothing);

    let hsmd = hsmd.set("identity", zero.event().prefix().to_string());
    hsmd.launch(&[]).refused("the log is older than the token").await;
    let file = |name| hsmd.path(name).display().to_string();
    hsmd.run(&["import", &file("second.json")]).await.refused("does not verify");
    // The token has gone on from the second, so the first alone is not enough.
    hsmd.run(&["import", &file("hsmd-taint-1.json")]).await.refused("older than the token");
    hsmd.run(&["import", "--without-token", &file("hsmd-taint-1.json")]).await.good();
    hsmd.run(&["import", &file("second.json")]).await.good();
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    let log = hsmd.history().await;
    assert_eq!((log.events().len(), log.events()[1].text()), (4, one.text()));
    assert!(verified(&before, &log).is_none(), "the taint is not lost");
}

async fn rows_follow(hsmd: &Hsmd, count: usize) {
    within(SOON, "the rows follow", async || hsmd.database.events().await.len() == count).await;
}

/// Where a daemon dies while it taints, and whether the event had been decided by then. A start passes
/// some of them, too.
const POINTS: [(&str, bool); 10] = [
    ("rotation::begun", false),
    ("rotation::begun-copied", false),
    ("rotation::key-made", false),
    ("rotation::signed", false),
    ("rotation::copied", true),
    ("rotation::journaled", true),
    ("rotation::activated=1*off->return", true),
    ("token::between-destroys", true),
    ("token::between-destroys=1*off->return", true),
    ("rotation::retired", true),
];

/// Those that a taint passes only where the database takes the row.
const WITH_ROWS: [(&str, bool); 3] =
    [("rotation::before-commit", true), ("rotation::committed", true), ("rotation::cleared", true)];

#[tokio::test]
async fn killed_in_trouble_it_goes_on() {
    let long = told("HSMD_LONG").is_some();
    let mut cases = Vec::new();
    for (number, trouble) in Trouble::ALL.into_iter().enumerate() {
        let rows = if trouble.keeps_rows_out() { &[][..] } else { &WITH_ROWS };
        for (index, point) in POINTS.iter().chain(rows).enumerate() {
            // Each point while the database is away, and a part of them in each other trouble.
            if long || trouble == Trouble::Away || (index + number) % 4 == 0 {
                cases.push((trouble, *point));
            }
        }
    }
    for_each_case(cases, |(trouble, (point, decided))| dies_in_trouble(trouble, point, decided))
        .await;
}

async fn dies_in_trouble(trouble: Trouble, point: &'static str, decided: bool) {
    let context = format!("{trouble:?}, {point}");
    let (hsmd, proxy) = hsmd_with_a_clock().await;
    let mut daemon = hsmd.launch_until(point);
    daemon.ready().await;
    let zero = daemon.head().await;
    let before = endorse(&daemon).await;
    trouble.begin(&hsmd, &proxy, &zero).await;
    let answer = taint(&daemon, &zero).await;
    // On a busy machine it may be answered before its row is committed.
    assert!(!trouble.keeps_rows_out() || answer.is_err(), "{context}: {answer:?}");
    daemon.died().await;

    let waits_for_the_database = matches!(trouble, Trouble::Away | Trouble::Hanging);
    if decided && waits_for_the_database {
        serves_from_the_folder(&hsmd, &context).await;
    }
    trouble.end(&hsmd, &proxy).await;
    let daemon = hsmd.serve().await;
    let head = daemon.head().await;
    assert_eq!(head.event().sequence_number(), u32::from(decided), "{context}");
    let answer = taint(&daemon, &zero).await.expect(&context);
    assert_eq!((answer.performed, answer.pending), (!decided, false), "{context}");
    assert_eq!(hsmd.token.private_keys(), [1, 2], "{context}");
    daemon.rotate_head().await;
    let log = hsmd.history().await;
    assert_eq!(log.events().len(), 3, "{context}");
    assert!(verified(&before, &log).is_none(), "{context}");
    let record = hsmd.database.admin_rows().await;
    assert_eq!((&*record[1].action, &*record[1].reason), ("taint", "a test taints"), "{context}");
    stopped(daemon, &hsmd).await;
}

/// With the database still away the log is served from `state_dir` and the token; nothing is signed.
async fn serves_from_the_folder(hsmd: &Hsmd, context: &str) {
    let daemon = hsmd.launch(&[]);
    until(&format!("{context}: the log is served"), async || {
        daemon.is_serving("hsmd.v1.KeyLog").await
    })
    .await;
    assert!(daemon.head().await.event().taint_previous(), "{context}");
    assert_eq!(daemon.sign(DOCUMENT).await.unwrap_err().reason, "STARTING", "{context}");
    daemon.kill().await;
}

/// Who owned the token before a restart taints while the start waits for the database, which is away or hangs.
#[tokio::test]
async fn a_start_that_waits_for_the_database_taints() {
    let cases = [Toll::Connections, Toll::Everything].into_iter().flat_map(|toll| {
        let standby = [false, true].into_iter();
        standby.map(move |standby| (toll, standby))
    });
    for_each_case(cases, |(toll, standby)| taints_while_it_starts(toll, standby)).await;
}

async fn taints_while_it_starts(toll: Toll, standby: bool) {
    let context = format!("{toll:?}, standby {standby}");
    let (hsmd, proxy) = behind_a_proxy().await;
    let hsmd = hsmd.set("standby", standby);
    let daemon = hsmd.serve().await;
    let one = daemon.rotate_head().await;
    let before = endorse(&daemon).await;
    daemon.kill().await;

    proxy.take(toll);
    let daemon = hsmd.launch(&[]);
    let answer =
        until(&format!("{context}: tainted"), async || taint(&daemon, &one).await.ok()).await;
    assert!(answer.performed && answer.pending && answer.key_destroyed, "{context}: {answer:?}");
    assert_eq!(hsmd.token.private_keys(), [2, 3], "{context}: key 1 is gone");
    let event = answer.event.unwrap();
    let two = SignedEvent::parse(&event.text, &event.signature).unwrap();
    let again = taint(&daemon, &one).await.unwrap();
    assert!(!again.performed && again.pending, "{context}: {again:?}");
    let refusals = [
        daemon.sign(DOCUMENT).await.map(drop),
        daemon.rotate(two.event().id().as_str()).await.map(drop),
    ];
    for refusal in refusals {
        assert_eq!(refusal.unwrap_err().reason, "STARTING", "{context}");
    }
    if !standby {
        assert_eq!(daemon.head().await, two, "{context}: readers have it");
    }
    // Nothing of it is lost with the process.
    daemon.kill().await;
    let mut daemon = hsmd.launch(&[]);
    proxy.take(Toll::Nothing);
    daemon.ready().await;
    rows_follow(&hsmd, 3).await;
    assert_eq!(daemon.head().await, two, "{context}");
    daemon.rotate_head().await;
    let log = hsmd.history().await;
    assert_eq!((log.events().len(), log.events()[2].text()), (4, two.text()), "{context}");
    assert!(verified(&before, &log).is_none(), "{context}");
}

/// A folder that owned the token before another one is not its owner, and says what it waits for. It shows no
/// log: the owner may have tainted the head.
#[tokio::test]
async fn a_start_on_another_owners_token_does_not_taint() {
    let (hsmd, proxy) = behind_a_proxy().await;
    let hsmd = hsmd.set("lock_grace", "1s");
    hsmd.serve().await.stop().await;
    let owner = hsmd.twin().serve().await;
    let zero = owner.head().await;
    owner.kill().await;
    let before = hsmd.token.objects();
    proxy.take(Toll::Connections);
    let daemon = hsmd.launch(&[]);
    until("it waits", async || {
        let problems = daemon.status().await.ok()?.problems;
        problems.iter().any(|problem| problem.contains("database")).then_some(())
    })
    .await;
    for _ in 0..20 {
        assert!(!daemon.is_serving("hsmd.v1.KeyLog").await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let refusal = taint(&daemon, &zero).await.unwrap_err();
    assert_eq!(refusal.reason, "STARTING");
    assert!(refusal.message.contains("waiting for the database"), "{refusal:?}");
    assert_eq!(hsmd.token.objects(), before);
}

/// What the token has refused at first is done later, whether or not the database is back.
#[tokio::test]
async fn the_tainted_key_is_destroyed_in_the_background_without_the_database() {
    let (hsmd, proxy) = behind_a_proxy().await;
    let (hsmd, faults) = hsmd.with_faults();
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await;
    proxy.take(Toll::Connections);
    faults.quirk(Quirk::UndestroyableKeys, true).unwrap();
    let answer = taint(&daemon, &zero).await.unwrap();
    assert!(answer.pending && !answer.key_destroyed, "{answer:?}");
    faults.quirk(Quirk::UndestroyableKeys, false).unwrap();
    until("key 0 is gone", async || hsmd.token.private_keys() == [1, 2]).await;
    assert_eq!(hsmd.database.events().await.len(), 1, "the database is away");
    proxy.take(Toll::Nothing);
    rows_follow(&hsmd, 2).await;
    hsmd.history().await;
}

async fn stopped(daemon: Daemon, hsmd: &Hsmd) {
    daemon.stop().await;
    hsmd.run(&["check"]).await.good();
}
