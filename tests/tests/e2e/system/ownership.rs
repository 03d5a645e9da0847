//! One token has one owner, whatever the databases: two daemons that know nothing of each other but the
//! token they share.

mod lives;
mod orders;
pub(crate) mod promotion;
mod refused;

use hsmd_chain::KeyLog;
use hsmd_tests::{Daemon, Hsmd, until};

use crate::system::endorse;
use crate::{DOCUMENT, told};

pub(crate) const OWNED: &str = "is owned by another state folder";
const SECTION_9: &str = "the token is owned by another state folder: section 9";

/// Behind a claim, behind the change after it, behind the last look.
pub(super) const KILL_POINTS: [&str; 3] = ["owner::claimed", "owner::changed", "owner::taken"];

/// How long a lease lasts, so that a test need not wait for long.
pub(crate) const LEASE: &str = "1s";

/// The other site: a state folder of its own and a database that was this one a moment ago. With `named`
/// the copy knows the claim under which the first daemon serves, as a replica does.
pub(crate) async fn other_site(hsmd: &Hsmd, named: bool) -> Hsmd {
    if named {
        hsmd.serve().await.stop().await;
    }
    hsmd.twin().with_database(hsmd.database.backup().await)
}

/// Nothing is signed any more, and Status says why.
async fn is_silent(daemon: &Daemon, log: &KeyLog) {
    daemon.problem(OWNED).await;
    daemon.sign(DOCUMENT).await.expect_err("the token is another daemon's");
    let head = log.head().event().id();
    // Also where the owner has made the key of a further event.
    for answer in [daemon.rotate(head.as_str()).await, daemon.taint(head.as_str()).await] {
        let refusal = answer.expect_err("the token is another daemon's");
        assert_eq!(refusal.reason, "LOCK_LOST", "{refusal:?}");
        assert!(refusal.message.contains(OWNED), "{refusal:?}");
    }
    until("it is not serving", async || (!daemon.is_serving("").await).then_some(())).await;
}

/// That `theirs` goes on from `ours`.
fn continues(ours: &KeyLog, theirs: &KeyLog) {
    assert_eq!(theirs.events()[..ours.events().len()], ours.events()[..]);
}

/// How often a daemon of this hsmd has claimed the token so far.
fn claims(daemon: &Daemon) -> usize {
    daemon.log_text().matches("token claimed").count()
}

#[tokio::test]
async fn a_second_database_is_refused_until_a_person_takes_the_token_over() {
    only_a_person_takes_it_over(Hsmd::initialised().await, true).await;
}

/// Its supervisor starts it again: the owner may release the token.
#[tokio::test]
async fn a_daemon_of_a_pair_is_refused_until_the_owner_releases_the_token() {
    let hsmd = Hsmd::initialised().await.set("standby", true).set("lock_grace", LEASE);
    let other = other_site(&hsmd, false).await;
    let owner = hsmd.serve().await;
    let (status, log) = other.launch(&[]).ended().await;
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains(OWNED), "{log}");
    owner.stop().await;
    let other = other.serve().await;
    endorse(&other).await;
}

/// There the record is a key pair. What its owner has done since is in no copy.
#[tokio::test]
async fn a_token_without_data_objects_has_one_owner_too() {
    let hsmd = without_data_objects().await;
    assert_eq!(hsmd.token.records(), 2, "a private key and its public one");
    only_a_person_takes_it_over(hsmd, false).await;
}

async fn without_data_objects() -> Hsmd {
    let hsmd = Hsmd::fresh().await.set("token.0.journal_copy", false);
    hsmd.migrate().await;
    hsmd.init().await;
    hsmd
}

async fn only_a_person_takes_it_over(hsmd: Hsmd, rotates: bool) {
    let hsmd = hsmd.set("lock_grace", LEASE);
    let other = other_site(&hsmd, false).await;
    let first = hsmd.serve().await;
    other.launch(&[]).refused_until_a_person_acts(OWNED).await;
    other.run(&["check"]).await.refused(SECTION_9);
    assert!(!hsmd.run(&["check"]).await.good().contains(OWNED));
    if rotates {
        first.rotate_head().await;
    }
    endorse(&first).await;
    let ours = first.log().await;

    let mut second = other.launch(&["--take-over-token"]);
    second.ready().await;
    endorse(&second).await;
    is_silent(&first, &ours).await;
    let tainted = second.taint_head().await;
    continues(&ours, &second.log().await);
    assert_eq!(tainted.event().sequence_number(), ours.events().len() as u32);
    is_silent(&first, &ours).await;
    // Started again, the first one says the same.
    first.stop().await;
    hsmd.launch(&[]).refused_until_a_person_acts(OWNED).await;
}

/// Two databases that know the same claim, and no standby: the daemon that starts last owns the token.
#[tokio::test]
async fn of_two_databases_one_daemon_signs() {
    let hsmd = Hsmd::initialised().await.set("lock_grace", LEASE).set("retire", "keep");
    let other = other_site(&hsmd, true).await;
    let first = hsmd.serve().await;
    first.rotate_head().await;
    let ours = first.log().await;
    let second = other.serve().await;
    continues(&ours, &second.log().await);
    is_silent(&first, &ours).await;
    let one = second.rotate_head().await;
    assert_eq!(one.event().sequence_number(), 2);
    is_silent(&first, &ours).await;
    endorse(&second).await;
}

/// The offsets at which the second one starts behind the first; `--long` plays many more.
#[tokio::test]
async fn two_that_claim_at_once_do_not_both_own_the_token() {
    let races = if told("HSMD_LONG").is_some() { 400 } else { 2 };
    for race in 0..races {
        // Every other one with key pairs for records.
        let hsmd = match race % 2 {
            0 => Hsmd::initialised().await,
            _ => without_data_objects().await,
        };
        two_that_claim_at_once(hsmd, race * 13 % 200).await;
    }
}

async fn two_that_claim_at_once(hsmd: Hsmd, offset: u64) {
    // On a busy machine a look and a change take long.
    let hsmd = hsmd.set("lock_grace", LEASE).set("claim_wait", "300ms");
    let other = other_site(&hsmd, false).await;
    // Each is held up between its look and its change, and between its change and its look.
    let held_up = |hsmd: Hsmd, millis: u64| {
        hsmd.env(
            "FAILPOINTS",
            format!("owner::claimed=sleep({millis});owner::changed=sleep({millis})"),
        )
    };
    let (hsmd, other) = (held_up(hsmd, offset % 60), held_up(other, offset % 37));
    let mut first = hsmd.launch(&["--take-over-token"]);
    tokio::time::sleep(std::time::Duration::from_millis(offset)).await;
    let mut second = other.launch(&["--take-over-token"]);
    // One of them may have been the owner for a while before the other took the token over.
    until("one of them rotates", async || {
        for daemon in [&mut first, &mut second] {
            if daemon.is_alive() && daemon.sign(DOCUMENT).await.is_ok() {
                let head = daemon.status().await.ok()?.active_generation_id;
                if daemon.rotate(&head).await.is_ok() {
                    return Some(());
                }
            }
        }
        None
    })
    .await;
    until("only one of them signs", async || {
        let mut signing = 0;
        for daemon in [&mut first, &mut second] {
            signing += usize::from(daemon.is_alive() && daemon.sign(DOCUMENT).await.is_ok());
        }
        (signing == 1).then_some(())
    })
    .await;
    let (ours, theirs) = (hsmd.database.events().await, other.database.events().await);
    let common = ours.len().min(theirs.len());
    assert_eq!(ours[..common], theirs[..common], "one event a number");
}
