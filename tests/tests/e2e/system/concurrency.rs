//! Many callers at once while the key moves on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hsmd_chain::SignedPayload;
use hsmd_tests::{Hsmd, Refusal, Rpc, now, until};
use tokio::task::JoinSet;

use crate::system::{DOCUMENT, WINDOW, endorse, verified};

const SIGNERS: usize = 64;
const ROTATIONS: u32 = 50;

/// A reply, and whether `marked` was set before it was asked for.
pub(crate) type Reply = (bool, Result<SignedPayload, Refusal>);

/// Callers on connections of their own that sign until told to stop.
pub(crate) struct Signers {
    tasks: JoinSet<Vec<Reply>>,
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
}

impl Signers {
    pub(crate) fn start(hsmd: &Hsmd, marked: &Arc<AtomicBool>) -> Self {
        let (mut tasks, stop) = (JoinSet::new(), Arc::<AtomicBool>::default());
        let served = Arc::<AtomicUsize>::default();
        for number in 0..SIGNERS {
            let (rpc, stop, marked) = (hsmd.rpc(), Arc::clone(&stop), Arc::clone(marked));
            let served = Arc::clone(&served);
            tasks.spawn(async move {
                let mut replies = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    let was_marked = marked.load(Ordering::SeqCst);
                    let asked = ask(&rpc, number).await;
                    served.fetch_add(asked.iter().flatten().count(), Ordering::SeqCst);
                    replies.extend(asked.into_iter().map(|reply| (was_marked, reply)));
                }
                replies
            });
        }
        Self { tasks, stop, served }
    }

    /// How many signatures they have got so far.
    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    pub(crate) async fn replies(self) -> Vec<Reply> {
        self.stop.store(true, Ordering::SeqCst);
        self.tasks.join_all().await.concat()
    }
}

/// Some call for documents, some for endorsements, some for batches; half of them accept leaves.
async fn ask(rpc: &Rpc, number: usize) -> Vec<Result<SignedPayload, Refusal>> {
    let each = |signed: Result<Vec<SignedPayload>, Refusal>| match signed {
        Ok(signed) => signed.into_iter().map(Ok).collect(),
        Err(refusal) => vec![Err(refusal)],
    };
    let plain = |signed: Vec<_>| signed.into_iter().map(SignedPayload::from).collect();
    let (documents, key) =
        ([const { DOCUMENT }; 5].map(str::to_owned), crate::system::service_key());
    match number % 8 {
        0 => each(rpc.sign_batch(&documents).await.map(plain)),
        1 => vec![rpc.endorse("access", key.as_str(), WINDOW).await.map(Into::into)],
        2 => each(rpc.sign_batch_accepting(&documents).await),
        3 => vec![rpc.endorse_accepting("access", key.as_str(), WINDOW).await],
        4 | 5 => vec![rpc.sign_accepting(DOCUMENT).await],
        _ => vec![rpc.sign(DOCUMENT).await.map(Into::into)],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_signature_names_its_key_while_the_key_rotates() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    let signers = Signers::start(&hsmd, &Arc::default());
    for _ in 0..ROTATIONS {
        daemon.rotate_head().await;
    }
    let replies = signers.replies().await;

    let log = hsmd.history().await;
    assert_eq!(log.position().sequence_number, ROTATIONS);
    let mut generations = BTreeSet::new();
    for (_, reply) in &replies {
        let signed = reply.as_ref().expect("a rotation refuses nobody");
        let verified = signed.verify(&log, now(), WINDOW).expect("signed by the key that it names");
        generations.insert(verified.sequence_number());
    }
    assert!(replies.len() > SIGNERS, "{} replies", replies.len());
    assert!(generations.len() > 10, "replies of {generations:?} only");
    assert_eq!(hsmd.token.private_keys(), [ROTATIONS, ROTATIONS + 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_a_signature_of_a_tainted_key() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    let old = endorse(&daemon).await;
    let answered = Arc::<AtomicBool>::default();
    for round in 0..5 {
        answered.store(false, Ordering::SeqCst);
        let tainted = daemon.head().await.event().id();
        let signers = Signers::start(&hsmd, &answered);
        until("signers are served", async || daemon.sign(DOCUMENT).await.ok()).await;

        daemon.taint_head().await;
        answered.store(true, Ordering::SeqCst);
        assert_eq!(hsmd.token.private_keys(), [round + 1, round + 2], "destroyed when answered");
        until("the new key signs", async || daemon.sign(DOCUMENT).await.ok()).await;
        let log = daemon.log().await;
        for (asked_after, reply) in signers.replies().await {
            match reply {
                Ok(signed) if asked_after => {
                    assert_ne!(signed.generation_id(), tainted);
                    signed.verify(&log, now(), WINDOW).unwrap();
                }
                Ok(signed) => assert!(
                    signed.generation_id() == tainted || signed.verify(&log, now(), WINDOW).is_ok()
                ),
                Err(refusal) => assert_eq!(refusal.reason, "TAINT_IN_PROGRESS", "{refusal:?}"),
            }
        }
    }
    let log = hsmd.history().await;
    assert!(verified(&old, &log).is_none(), "the endorsement died with its key");
    assert!(verified(&endorse(&daemon).await, &log).is_some());
}
