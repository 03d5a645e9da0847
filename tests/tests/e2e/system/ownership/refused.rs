//! Who is refused has changed nothing: a start that the startup table refuses, a trial beside an owner, a
//! person's word on a token that can't show whether it is true.

use hsmd_fault::{Quirk, Times};
use hsmd_tests::{Hsmd, until};

use super::{LEASE, OWNED, continues, other_site, without_data_objects};
use crate::DOCUMENT;
use crate::system::endorse;

/// Its database names the owner's claim, or a person says that the token is to be taken over: neither counts
/// before the table has been asked.
#[tokio::test]
async fn a_start_that_the_table_refuses_leaves_the_token_to_its_owner() {
    let hsmd = Hsmd::initialised().await.set("lock_grace", LEASE);
    let old = other_site(&hsmd, true).await;
    let owner = hsmd.serve().await;
    owner.rotate_head().await;
    owner.rotate_head().await;
    let ours = owner.log().await;
    let before = hsmd.token.objects();
    let refusal = "the log ends at event 0, the journal knows event 2";
    old.launch(&[]).refused_until_a_person_acts(refusal).await;
    old.launch(&["--take-over-token"]).refused_until_a_person_acts(refusal).await;
    assert_eq!(hsmd.token.objects(), before);
    let said = std::fs::read_to_string(old.path("log")).unwrap();
    assert!(!said.contains("claiming the token"), "{said}");
    owner.sign(DOCUMENT).await.expect("the owner was not disturbed");
    owner.rotate_head().await;
    continues(&ours, &owner.log().await);
    assert_eq!(hsmd.history().await.events().len(), 4);
}

#[tokio::test]
async fn a_token_is_not_tried_beside_its_owner() {
    let hsmd = Hsmd::initialised().await.set("claim_wait", "500ms");
    let other = other_site(&hsmd, false).await;
    let owner = hsmd.serve().await;
    let before = hsmd.token.objects();
    let said = other.run(&["check", "--try"]).await;
    assert!(said.stdout.contains(OWNED), "{said:?}");
    said.refused("wrong");
    // The owner's folder, in a configuration with another database.
    let other = other.set("state_dir", hsmd.state_dir().display().to_string());
    let said = other.run(&["check", "--try"]).await;
    assert!(said.stdout.contains("another process has the lock of"), "{said:?}");
    said.refused("wrong");
    assert_eq!(hsmd.token.objects(), before);
    owner.rotate_head().await;
    owner.stop().await;
    let said = hsmd.run(&["check", "--try"]).await.good();
    assert!(said.contains("nothing of the trial is left on the token"), "{said}");
}

/// A key pair that stays would be a record that nobody can replace.
#[tokio::test]
async fn a_token_that_keeps_its_keys_gets_no_record_that_is_a_key_pair() {
    let (hsmd, faults) = Hsmd::fresh().await.with_faults();
    faults.quirk(Quirk::UndestroyableKeys, true).unwrap();
    let hsmd = hsmd.set("token.0.journal_copy", false);
    hsmd.migrate().await;
    hsmd.init().await;
    let tried = hsmd.token.records();
    assert_eq!(tried, 2, "the pair that was to be destroyed");
    let daemon = hsmd.serve().await;
    daemon.sign(DOCUMENT).await.unwrap();
    assert!(daemon.log_text().contains("the token holds no record of its owner"));
    daemon.stop().await;
    hsmd.serve().await.sign(DOCUMENT).await.unwrap();
    assert_eq!(hsmd.token.records(), tried, "none is tried again");
}

/// An answer that is lost: the pair is there, and it is the record.
#[tokio::test]
async fn a_key_pair_whose_answer_is_lost_is_the_record_all_the_same() {
    let (hsmd, faults) = without_data_objects().await.with_faults();
    std::fs::remove_dir_all(hsmd.state_dir()).unwrap();
    let lost = "CKR_DEVICE_ERROR".parse().unwrap();
    // The first pair is only tried, the second one is the claim's record.
    let second = Times::next(1).after(1);
    faults.fail("C_GenerateKeyPair".parse().unwrap(), lost, second, true).unwrap();
    let daemon = hsmd.serve().await;
    daemon.sign(DOCUMENT).await.unwrap();
    assert_eq!(hsmd.token.records(), 2, "a private key and its public one");
}

/// Where keys stay, the head's key may be a tainted one: its event is in no log, journal or record any more.
#[tokio::test]
async fn on_a_token_that_keeps_its_keys_nobody_can_vouch_for_a_crash() {
    let (hsmd, faults) = Hsmd::initialised().await.with_faults();
    faults.quirk(Quirk::UndestroyableKeys, true).unwrap();
    let backup = hsmd.database.backup().await;
    let daemon = hsmd.serve().await;
    let before = endorse(&daemon).await;
    let tainted = daemon.taint_head().await;
    daemon.stop().await;
    let copy = hsmd.path("copy");
    std::fs::write(&copy, hsmd.export().await).unwrap();

    let identity = tainted.event().prefix().to_string();
    let hsmd = hsmd.with_database(backup).set("identity", identity);
    hsmd.forget_journal();
    hsmd.launch(&[]).refused_until_a_person_acts("--assume-crashed").await;
    hsmd.launch(&["--assume-crashed"]).refused_until_a_person_acts("does not destroy keys").await;
    assert_eq!(hsmd.token.records(), 0, "the claim is taken back");
    hsmd.run(&["import", &copy.display().to_string()]).await.good();
    let daemon = hsmd.serve().await;
    assert_eq!(daemon.head().await, tainted);
    until("it signs", async || daemon.sign(DOCUMENT).await.ok()).await;
    daemon.rotate_head().await;
    let log = hsmd.history().await;
    assert_eq!(log.events().len(), 3);
    assert!(crate::system::verified(&before, &log).is_none(), "the taint is not lost");
}
