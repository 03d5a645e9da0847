//! The ordinary lives of a token's owner: started again, stopped, moved, with two tokens, with an older
//! version's token, with one that grows slow.

use std::time::Duration;

use hsmd_fault::Times;
use hsmd_softhsm::{ObjectInfo, Tool};
use hsmd_tests::{Database, Hsmd, KEY_LABEL, Toll, program, until};

use super::{KILL_POINTS, LEASE, OWNED, claims, other_site, without_data_objects};
use crate::DOCUMENT;
use crate::faults::database::behind_a_proxy;
use crate::system::endorse;
use crate::system::standby::stands_by;

#[tokio::test]
async fn the_same_folder_goes_on_without_a_claim() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    assert_eq!(claims(&daemon), 1);
    daemon.kill().await;
    let daemon = hsmd.serve().await;
    assert_eq!(claims(&daemon), 1);
    daemon.stop().await;
    let daemon = hsmd.serve().await;
    assert_eq!(claims(&daemon), 1);
    endorse(&daemon).await;
    assert_eq!(hsmd.token.records(), 1);
}

#[tokio::test]
async fn an_emptied_folder_is_another_one() {
    let hsmd = Hsmd::initialised().await.set("lock_grace", LEASE);
    let other = other_site(&hsmd, false).await;
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    daemon.kill().await;
    std::fs::remove_dir_all(hsmd.state_dir()).unwrap();
    // A database that does not name the claim leaves it to a person; the daemon's own names it.
    other.launch(&[]).refused(OWNED).await;
    let daemon = hsmd.serve().await;
    assert_eq!(claims(&daemon), 2);
    daemon.rotate_head().await;
    assert_eq!(hsmd.token.records(), 1, "what the other folder left is merged and gone");
    assert_eq!(hsmd.history().await.events().len(), 3);
}

#[tokio::test]
async fn a_claim_that_dies_is_made_again() {
    for hsmd in [Hsmd::initialised().await, without_data_objects().await] {
        let records = hsmd.token.records();
        let hsmd = dying_claims(hsmd.set("lock_grace", LEASE)).await;
        assert_eq!(hsmd.token.records(), records, "those of the other folders are merged and gone");
    }
}

async fn dying_claims(hsmd: Hsmd) -> Hsmd {
    for (before, point) in KILL_POINTS.iter().enumerate() {
        // An empty folder is another folder.
        std::fs::remove_file(hsmd.state_dir().join("owner.json")).ok();
        hsmd.launch_until(point).died().await;
        let daemon = hsmd.serve().await;
        // Behind the last look the claim is kept already, and goes on.
        let again = usize::from(*point != "owner::taken");
        assert_eq!(claims(&daemon), before + again, "{point}");
        daemon.rotate_head().await;
        daemon.stop().await;
    }
    hsmd.history().await;
    hsmd
}

/// With a lease of a minute: nobody waits for one that was given up.
#[tokio::test]
async fn a_clean_stop_of_a_standby_pair_hands_over_at_once() {
    let hsmd = Hsmd::initialised().await.set("standby", true).set("lock_grace", "1h");
    let twin = hsmd.twin();
    let first = hsmd.serve().await;
    let mut second = twin.launch(&[]);
    stands_by(&second).await;
    first.stop().await;
    second.ready().await;
    second.rotate_head().await;
    let mut first = hsmd.launch(&[]);
    stands_by(&first).await;
    second.stop().await;
    first.ready().await;
    first.rotate_head().await;
    assert_eq!(hsmd.history().await.events().len(), 3);
}

/// The owner of the token taints, whatever became of its lock: nobody else can have made the event.
#[tokio::test]
async fn a_taint_in_a_standby_pair_needs_no_lock() {
    let hsmd = Hsmd::fresh_over(Database::create_alone().await).await.set("standby", true);
    hsmd.migrate().await;
    hsmd.init().await;
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await.event().id();
    hsmd.database.stop_server();
    daemon.problem("the writer lock can't be proved").await;
    daemon.rotate(zero.as_str()).await.expect_err("a rotation needs the lock");
    let tainted = daemon.taint(zero.as_str()).await.expect("a taint needs the token").0;
    assert_eq!(hsmd.token.private_keys(), [1, 2]);
    hsmd.database.start_server();
    until("it is in the database", async || {
        (hsmd.database.events().await.last()?.text() == tainted.text()).then_some(())
    })
    .await;
    until("it signs", async || daemon.sign(DOCUMENT).await.ok()).await;
}

#[tokio::test]
async fn init_works_in_a_standby_pair() {
    let hsmd = Hsmd::fresh().await.set("standby", true);
    hsmd.migrate().await;
    let identity = hsmd.init().await;
    assert_eq!(hsmd.twin().init().await, identity, "there is one already");
    hsmd.serve().await.rotate_head().await;
    assert_eq!(hsmd.history().await.events().len(), 2);
}

#[tokio::test]
async fn a_record_that_somebody_removes_is_made_again() {
    let hsmd = Hsmd::initialised().await.set("lock_grace", LEASE);
    let daemon = hsmd.serve().await;
    hsmd.token.forget_journal();
    until("it has claimed the token again", async || (claims(&daemon) == 2).then_some(())).await;
    until("it signs", async || daemon.sign(DOCUMENT).await.ok()).await;
    assert_eq!(hsmd.token.records(), 1);
    daemon.rotate_head().await;
    assert_eq!(hsmd.history().await.events().len(), 2);
}

/// The database knows of the claim when it is back: it names it to the next folder.
#[tokio::test]
async fn a_record_that_is_removed_while_the_database_is_away_is_made_again() {
    let (hsmd, proxy) = behind_a_proxy().await;
    let hsmd = hsmd.set("lock_grace", LEASE);
    let mut daemon = hsmd.serve().await;
    for (round, toll) in [Toll::Connections, Toll::Everything].into_iter().enumerate() {
        let head = daemon.head().await.event().id();
        proxy.take(toll);
        hsmd.token.forget_journal();
        // It may be asked before it has seen that its record is gone.
        let tainted = until("it taints", async || daemon.taint(head.as_str()).await.ok()).await.0;
        assert_eq!((claims(&daemon), hsmd.token.records()), (2 + 2 * round, 1), "{toll:?}");
        daemon.sign(DOCUMENT).await.expect("it owns the token");
        proxy.take(Toll::Nothing);
        until("the row follows", async || {
            (hsmd.database.events().await.last()?.text() == tainted.text()).then_some(())
        })
        .await;
        until("nothing is wrong any more", async || {
            daemon.status().await.ok()?.problems.is_empty().then_some(())
        })
        .await;
        daemon.kill().await;
        std::fs::remove_dir_all(hsmd.state_dir()).unwrap();
        daemon = hsmd.serve().await;
        assert_eq!(claims(&daemon), 3 + 2 * round, "without a person");
    }
    daemon.rotate_head().await;
    assert_eq!(hsmd.history().await.events().len(), 4);
}

/// A claim that is given up midway must not look like another daemon's.
#[tokio::test]
async fn a_claim_that_fails_midway_is_made_again() {
    let (hsmd, faults) = Hsmd::initialised().await.with_faults();
    let daemon = hsmd.serve().await;
    // Behind the claim's first change, and at its repetition in a new session.
    let broken = "CKR_DEVICE_ERROR".parse().unwrap();
    let change = "C_CreateObject".parse().unwrap();
    faults.fail(change, broken, Times::next(2).after(1), false).unwrap();
    hsmd.token.forget_journal();
    for what in ["the token was not claimed anew", "token claimed"] {
        until(what, async || daemon.log_text().contains(what).then_some(())).await;
    }
    until("it signs", async || daemon.sign(DOCUMENT).await.ok()).await;
    assert_eq!(hsmd.token.records(), 1);
    daemon.rotate_head().await;
}

/// A token that has taken data objects may refuse a longer one: then the old one stands.
#[tokio::test]
async fn a_record_with_the_journal_is_not_replaced_by_a_key_pair_without_it() {
    let (hsmd, proxy) = behind_a_proxy().await;
    let (hsmd, faults) = hsmd.with_faults();
    let daemon = hsmd.serve().await;
    proxy.take(Toll::Everything);
    daemon.taint_head().await;
    let refused = "CKR_ATTRIBUTE_VALUE_INVALID".parse().unwrap();
    faults.fail("C_CreateObject".parse().unwrap(), refused, Times::always(), false).unwrap();
    daemon.taint_head().await;
    assert_eq!(hsmd.token.records(), 1, "with the first taint");
    let status = daemon.status().await.unwrap();
    assert!(status.tokens[0].no_journal_copy.contains("the token refused one"), "{status:?}");
    daemon.sign(DOCUMENT).await.expect("it owns the token");
    proxy.take(Toll::Nothing);
    until("both rows follow", async || (hsmd.database.events().await.len() == 3).then_some(()))
        .await;
}

/// A second token behind the same module.
struct SecondToken(Tool);

impl SecondToken {
    const LABEL: &str = "hsmd new";

    fn beside(hsmd: &Hsmd) -> Self {
        let tool = Tool {
            program: program("hsmd-softhsm"),
            dir: hsmd.token.conf().parent().unwrap().into(),
            label: Self::LABEL.into(),
            pin_file: hsmd.path("pin"),
        };
        tool.provision().unwrap();
        Self(tool)
    }

    fn objects(&self) -> Vec<ObjectInfo> {
        self.0.keys().unwrap()
    }

    fn records(&self) -> usize {
        self.objects().iter().filter(|object| object.label.ends_with(":owner")).count()
    }
}

/// A `[[token]]` of the configuration.
fn entry(label: &str) -> toml::Value {
    let entry = [
        ("module", hsmd_softhsm::MODULE),
        ("label", label),
        ("pin_file", "@/pin"),
        ("key_label", KEY_LABEL),
    ];
    let entry = entry.into_iter().map(|(key, value)| (key.into(), value.into()));
    toml::Value::Table(entry.collect())
}

#[tokio::test]
async fn of_two_tokens_both_are_owned_or_none() {
    let hsmd = Hsmd::initialised().await.set("lock_grace", LEASE);
    let second = SecondToken::beside(&hsmd);
    let entries = ["hsmd test", SecondToken::LABEL].map(entry).to_vec();
    let both = hsmd.twin().set("token", toml::Value::Array(entries));
    let daemon = both.serve().await;
    daemon.rotate_head().await;
    daemon.rotate_head().await;
    assert_eq!((hsmd.token.records(), second.records()), (1, 1));
    let ours = daemon.log().await;
    daemon.kill().await;

    // Another site dies when it has taken the first token over: then the second one alone is no use.
    let other = other_site(&both, false).await.env("FAILPOINTS", "owner::taken=return");
    other.launch(&["--take-over-token"]).died().await;
    let before = second.objects();
    both.launch(&[]).refused(OWNED).await;
    assert_eq!(second.objects(), before, "nothing was claimed");
    let mut daemon = both.launch(&["--take-over-token"]);
    daemon.ready().await;
    super::continues(&ours, &daemon.log().await);
}

/// An older version has a copy of its journal on the token, and no record.
#[tokio::test]
async fn an_older_versions_token_is_claimed_and_its_journal_read() {
    let hsmd = Hsmd::fresh().await;
    let lock = hsmd.path("lock").display().to_string();
    let (token_as_before, hsmd) = (hsmd.twin().set("token.0.lock_file", lock), hsmd);
    token_as_before.migrate().await;
    token_as_before.init().await;
    let mut daemon = token_as_before.launch_until("rotation::journaled");
    daemon.ready().await;
    let zero = daemon.head().await.event().id();
    daemon.taint(zero.as_str()).await.expect_err("it dies");
    daemon.died().await;
    assert_eq!(hsmd.token.records(), 0);

    let daemon = hsmd.serve().await;
    assert!(daemon.head().await.event().taint_previous(), "the old copy told it");
    daemon.rotate_head().await;
    assert_eq!(hsmd.token.records(), 1);
    let old = hsmd.token.objects().into_iter().filter(|o| o.label.starts_with("hsmd-journal"));
    assert_eq!(old.count(), 0, "it is in the record now");
    assert_eq!(hsmd.history().await.events().len(), 3);
}

#[tokio::test]
async fn a_lock_file_admits_one_daemon() {
    let hsmd = Hsmd::initialised().await;
    let lock = hsmd.path("lock").display().to_string();
    let hsmd = hsmd.set("token.0.lock_file", lock);
    let other = other_site(&hsmd, false).await;
    let first = hsmd.serve().await;
    let in_use = "another process has the lock of";
    other.launch(&[]).refused(in_use).await;
    hsmd.twin().set("standby", true).run(&["check"]).await.ended(64, "lock_file");
    first.kill().await;
    let second = other.serve().await;
    endorse(&second).await;
    hsmd.launch(&[]).refused(in_use).await;
}

/// The lease was measured when looks were quick.
#[tokio::test]
async fn a_token_that_grows_slow_gets_a_longer_lease() {
    let (hsmd, faults) = Hsmd::initialised().await.with_faults();
    let hsmd = hsmd.set("lock_grace", LEASE);
    let daemon = hsmd.serve().await;
    let slow = Duration::from_millis(100);
    faults.delay("C_FindObjectsInit".parse().unwrap(), slow, Duration::ZERO).unwrap();
    until("the lease is longer", async || {
        daemon.sign(DOCUMENT).await.expect("a slow look stops nothing");
        daemon.log_text().contains("reading the token's owner records is slow").then_some(())
    })
    .await;
    for _ in 0..10 {
        daemon.sign(DOCUMENT).await.expect("it goes on");
    }
}
