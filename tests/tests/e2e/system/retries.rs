//! The administrator's expectation: a retry after a lost reply never moves the key twice.

use hsmd_chain::Digest;
use hsmd_tests::Hsmd;
use tokio::task::JoinSet;
use tonic::Code;

#[tokio::test]
async fn a_repeated_rotation_is_answered_with_the_same_event() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await.event().id();
    let (one, performed) = daemon.rotate(zero.as_str()).await.unwrap();
    assert!(performed);
    assert_eq!(daemon.rotate(zero.as_str()).await.unwrap(), (one.clone(), false));
    let two = daemon.rotate_head().await;
    assert_eq!(daemon.rotate(zero.as_str()).await.unwrap(), (one.clone(), false));
    assert_eq!(daemon.rotate(one.event().id().as_str()).await.unwrap(), (two, false));
    assert_eq!(hsmd.history().await.events().len(), 3);
    assert_eq!(hsmd.database.admin_rows().await.len(), 3, "what was not performed is not recorded");
}

#[tokio::test]
async fn a_taint_reaches_the_head_only() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await.event().id();
    let one = daemon.rotate_head().await;
    let refusal = daemon.taint(zero.as_str()).await.unwrap_err();
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, "NOT_HEAD"));
    assert_eq!(refusal.metadata["head_id"], one.event().id().to_string());
    assert_eq!(refusal.metadata["replaced_at"], one.event().created_at().to_string());

    let id = one.event().id();
    let (two, performed) = daemon.taint(id.as_str()).await.unwrap();
    assert!(performed && two.event().taint_previous());
    assert_eq!(daemon.taint(id.as_str()).await.unwrap(), (two.clone(), false));
    assert_eq!(daemon.rotate(id.as_str()).await.unwrap(), (two, false));
    assert_eq!(hsmd.history().await.events().len(), 3);
}

#[tokio::test]
async fn an_unknown_generation_moves_nothing() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    let unknown = Digest::of(b"unknown");
    for refusal in [daemon.rotate(unknown.as_str()).await, daemon.taint(unknown.as_str()).await] {
        let refusal = refusal.unwrap_err();
        assert_eq!(refusal.code, Code::FailedPrecondition);
        assert_eq!(refusal.reason, "UNKNOWN_GENERATION");
    }
    assert_eq!(hsmd.history().await.events().len(), 1);
}

#[tokio::test]
async fn of_many_who_expect_the_same_one_is_served() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await.event().id();
    let mut admins = JoinSet::new();
    for _ in 0..16 {
        let rpc = hsmd.rpc();
        admins.spawn(async move { rpc.rotate(zero.as_str()).await.unwrap() });
    }
    let answers = admins.join_all().await;
    assert_eq!(answers.iter().filter(|(_, performed)| *performed).count(), 1);
    assert!(answers.iter().all(|(event, _)| event == &answers[0].0));
    assert_eq!(hsmd.history().await.events().len(), 2);
}
