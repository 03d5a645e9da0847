//! kill -9 between any two steps of a rotation or a taint, and again while the next start recovers:
//! the daemon goes on with the same single history, without a person.

use hsmd_tests::{Hsmd, for_each_case};

use crate::system::{endorse, verified};

/// Where a daemon dies while it rotates, and then the next ones while they start.
pub(crate) struct Case {
    pub(crate) dies_at: &'static [&'static str],
    /// Whether the first death came after event n+1 had been decided.
    decided: bool,
}

/// `point=1*off->return` dies at the second passing of a point: some are passed by a start as well, and
/// a pair is destroyed in two halves.
pub(crate) const CASES: [Case; 19] = [
    Case { dies_at: &["rotation::begun"], decided: false },
    Case { dies_at: &["rotation::begun-copied"], decided: false },
    Case { dies_at: &["rotation::key-made"], decided: false },
    Case { dies_at: &["rotation::signed"], decided: false },
    // From here on the token remembers it, even if the journal's file does not.
    Case { dies_at: &["rotation::copied"], decided: true },
    Case { dies_at: &["rotation::journaled"], decided: true },
    Case { dies_at: &["rotation::before-commit"], decided: true },
    Case { dies_at: &["rotation::committed"], decided: true },
    Case { dies_at: &["rotation::cleared"], decided: true },
    Case { dies_at: &["rotation::activated=1*off->return"], decided: true },
    Case { dies_at: &["token::between-destroys"], decided: true },
    Case { dies_at: &["token::between-destroys=1*off->return"], decided: true },
    Case { dies_at: &["rotation::retired"], decided: true },
    Case { dies_at: &["rotation::key-made", "pin::before-login"], decided: false },
    Case {
        dies_at: &["rotation::journaled", "rotation::before-commit", "rotation::activated"],
        decided: true,
    },
    Case { dies_at: &["rotation::journaled", "token::between-destroys"], decided: true },
    Case { dies_at: &["rotation::committed", "rotation::retired"], decided: true },
    Case {
        dies_at: &[
            "rotation::journaled",
            "start::locked",
            "start::opened",
            "start::appended",
            "start::decided",
        ],
        decided: true,
    },
    Case {
        dies_at: &[
            "rotation::before-commit",
            "pin::before-login",
            "rotation::before-commit",
            "rotation::activated",
            "token::between-destroys",
            "token::between-destroys",
        ],
        decided: true,
    },
];

#[tokio::test]
async fn a_killed_rotation_is_continued() {
    for_each_case(&CASES, |case| dies_and_goes_on(case, false)).await;
}

#[tokio::test]
async fn a_killed_taint_is_continued() {
    for_each_case(&CASES, |case| dies_and_goes_on(case, true)).await;
}

async fn dies_and_goes_on(case: &'static Case, taint: bool) {
    let (hsmd, context) = (Hsmd::initialised().await, format!("{:?}, taint {taint}", case.dies_at));
    let mut daemon = hsmd.launch_until(case.dies_at[0]);
    daemon.ready().await;
    let before = endorse(&daemon).await;
    let zero = daemon.head().await.event().id();
    let advance = async |rpc: &hsmd_tests::Rpc| match taint {
        true => rpc.taint(zero.as_str()).await,
        false => rpc.rotate(zero.as_str()).await,
    };
    let advanced = advance(&daemon).await;
    // A taint may be answered before its row is committed.
    assert!(taint || advanced.is_err(), "{context}: {advanced:?}");
    daemon.died().await;
    for point in &case.dies_at[1..] {
        hsmd.launch_until(point).died().await;
    }

    let daemon = hsmd.serve().await;
    assert_eq!(daemon.head().await.event().sequence_number(), u32::from(case.decided), "{context}");
    let (one, performed) = advance(&daemon).await.expect(&context);
    assert_eq!(performed, !case.decided, "{context}");
    assert_eq!(one.event().sequence_number(), 1, "{context}");
    assert_eq!(one.event().taint_previous(), taint, "{context}");
    assert_eq!(hsmd.token.private_keys(), [1, 2], "{context}");
    daemon.rotate_head().await;

    let log = hsmd.history().await;
    assert_eq!(log.events().len(), 3, "{context}");
    assert_eq!(verified(&before, &log).is_some(), !taint, "{context}");
    assert_eq!(
        verified(&endorse(&daemon).await, &log).unwrap().generation_id(),
        log.head().event().id()
    );
    assert_eq!(hsmd.token.private_keys(), [2, 3], "{context}");
    let record = hsmd.database.admin_rows().await;
    let expected = if taint { "taint" } else { "rotate" };
    assert_eq!(record[1].action, expected, "{context}");
    assert_eq!(record[1].reason, format!("a test {expected}s"), "{context}");
    daemon.stop().await;
    hsmd.run(&["check"]).await.good();
}

#[tokio::test]
async fn a_lost_journal_is_replaced_by_its_copy_on_the_token() {
    let hsmd = Hsmd::initialised().await;
    let mut daemon = hsmd.launch_until("rotation::journaled");
    daemon.ready().await;
    let zero = daemon.head().await.event().id();
    daemon.taint(zero.as_str()).await.unwrap_err();
    daemon.died().await;
    std::fs::remove_dir_all(hsmd.state_dir()).unwrap();
    let daemon = hsmd.serve().await;
    assert!(daemon.head().await.event().taint_previous());
    daemon.rotate_head().await;
    assert_eq!(hsmd.history().await.events().len(), 3);
}
