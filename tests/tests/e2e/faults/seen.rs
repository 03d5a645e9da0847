//! What a test of a fault saw: what callers were answered, how long it took to heal, what was kept.

use std::time::{Duration, Instant};

use hsmd_chain::{SignedBody, SignedEvent};
use hsmd_proto::v1::TaintRequest;
use hsmd_tests::{Hsmd, Refusal, Rpc, now, until, within};

use crate::{DOCUMENT, WINDOW};

/// What a daemon needs whose database has come back: connecting, looking, and a loaded machine.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// What a daemon needs whose token has come back: a module is reinitialised after 1, 2, 4, … 30 s.
pub(crate) const TOKEN_HEALS: Duration = Duration::from_secs(40);

/// What a standby pair needs: `lock_grace` and a second more, after the loss has been noticed.
pub(crate) const LOCK_PASSES: Duration = Duration::from_secs(20);

/// The account of one fault, from which its row is made.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    answers: Vec<String>,
    signed: Vec<SignedBody>,
    /// The time after which it is well again, or who has to see to that.
    pub(crate) heals: String,
    /// How long it took this time.
    pub(crate) healed_after: Duration,
    pub(crate) kept: String,
}

/// Health says that it does not sign; it may say so a moment later than a caller hears it.
pub(crate) async fn is_not_ready(rpc: &Rpc) {
    until("it says that it is not ready", async || (!rpc.is_serving("").await).then_some(())).await;
}

/// Health says that it signs.
pub(crate) async fn is_ready(rpc: &Rpc) {
    rpc.ready().await;
}

impl Seen {
    /// A document is signed, which must succeed.
    pub(crate) async fn signs(&mut self, rpc: &Rpc) {
        let signed = rpc.sign(DOCUMENT).await.expect("a signature");
        self.answer("Sign: OK".into());
        self.signed.push(signed);
    }

    /// A document is refused, for this reason.
    pub(crate) async fn refuses_to_sign(&mut self, rpc: &Rpc, reason: &str) {
        let refusal = rpc.sign(DOCUMENT).await.expect_err("nothing may be signed");
        assert_eq!(refusal.reason, reason, "{refusal:?}");
        self.refused("Sign", &refusal);
    }

    /// A rotation of this generation is refused, for this reason.
    pub(crate) async fn refuses_to_rotate(&mut self, rpc: &Rpc, expected: &str, reason: &str) {
        let refusal = rpc.rotate(expected).await.expect_err("nothing may be rotated");
        assert_eq!(refusal.reason, reason, "{refusal:?}");
        self.refused("Rotate", &refusal);
    }

    /// A taint of this generation is made, and is in the database or `pending`.
    pub(crate) async fn taints(&mut self, rpc: &Rpc, expected: &str, pending: bool) -> SignedEvent {
        let request = TaintRequest {
            expected_generation_id: expected.into(),
            reason: "a test taints".into(),
        };
        let answer = rpc.admin.clone().taint(request).await.expect("a taint").into_inner();
        assert_eq!((answer.pending, answer.key_destroyed), (pending, true), "{answer:?}");
        self.answer(if pending { "Taint: OK, pending".into() } else { "Taint: OK".into() });
        rpc.head().await
    }

    /// A taint of this generation is refused, for this reason.
    pub(crate) async fn refuses_to_taint(&mut self, rpc: &Rpc, expected: &str, reason: &str) {
        let refusal = rpc.taint(expected).await.expect_err("nothing may be tainted");
        assert_eq!(refusal.reason, reason, "{refusal:?}");
        self.refused("Taint", &refusal);
    }

    /// Signatures that callers of their own were given.
    pub(crate) fn keep(&mut self, signed: Vec<SignedBody>) {
        self.signed.extend(signed);
    }

    /// A process or command ended with these words.
    pub(crate) fn said(&mut self, who: &str, words: &str) {
        self.answer(format!("{who}: “{words}”"));
    }

    pub(crate) fn refused(&mut self, what: &str, refusal: &Refusal) {
        self.answer(format!("{what}: {:?} {}", refusal.code, refusal.reason));
    }

    fn answer(&mut self, answer: String) {
        if !self.answers.contains(&answer) {
            self.answers.push(answer);
        }
    }

    /// Waits until it is well again, which must take less than `bound` from now.
    pub(crate) async fn heals_within<T>(
        &mut self,
        bound: Duration,
        well: impl AsyncFnMut() -> Option<T>,
    ) -> T {
        let began = Instant::now();
        let seen = within(bound, "it is well again", well).await;
        self.healed_after = self.healed_after.max(began.elapsed());
        self.heals = format!("{} s", bound.as_secs());
        seen
    }

    /// Waits until a rotation of this generation succeeds: performed by now, whoever did it.
    pub(crate) async fn rotates_within(
        &mut self,
        bound: Duration,
        rpc: &Rpc,
        expected: &str,
    ) -> SignedEvent {
        self.heals_within(bound, async || rpc.rotate(expected).await.ok()).await.0
    }

    /// Waits until a document is signed.
    pub(crate) async fn signs_within(&mut self, bound: Duration, rpc: &Rpc) {
        let signed = self.heals_within(bound, async || rpc.sign(DOCUMENT).await.ok()).await;
        self.signed.push(signed);
    }

    /// Nobody had to wait.
    pub(crate) fn never_ill(&mut self) {
        self.heals = "at once".into();
    }

    /// It does not heal by itself.
    pub(crate) fn takes_a_person(&mut self) {
        self.heals = "by the operator".into();
    }

    /// The end of every test: the one history of all that anybody saw has so many events, and every
    /// signature that was handed out verifies by it.
    pub(crate) async fn nothing_lost(mut self, hsmd: &Hsmd, events: usize) -> Self {
        let log = hsmd.history().await;
        assert_eq!(log.events().len(), events);
        for signed in &self.signed {
            signed.verify(&log, now(), WINDOW).expect("a signature that verifies");
        }
        let replies = match self.signed.len() {
            0 => String::new(),
            1 => ", 1 signature".into(),
            many => format!(", {many} signatures"),
        };
        let s = if events == 1 { "" } else { "s" };
        self.kept = format!("{}{events} event{s}{replies}", self.kept);
        self
    }

    /// The end of a test in which a person has put right what does not heal by itself: it serves again,
    /// signs, and moves its key on.
    pub(crate) async fn goes_on_by_a_person(mut self, hsmd: &Hsmd, events: usize) -> Self {
        let daemon = hsmd.serve().await;
        self.signs(&daemon).await;
        daemon.rotate_head().await;
        self.takes_a_person();
        self.nothing_lost(hsmd, events).await
    }

    /// As [`nothing_lost`](Self::nothing_lost), where the number of events says nothing.
    pub(crate) async fn one_history(self, hsmd: &Hsmd) -> Self {
        let events = hsmd.database.events().await.len();
        let seen = self.nothing_lost(hsmd, events).await;
        Self { kept: "one history".into(), ..seen }
    }

    /// For a row of which the number of signatures says nothing.
    pub(crate) fn whatever_was_signed(mut self) -> Self {
        self.kept = "one history, all signatures".into();
        self
    }

    /// Leaves out what a generation signed that was tainted since: nobody is to believe it.
    pub(crate) fn forget_signatures_of(&mut self, tainted: &SignedEvent) {
        self.signed.retain(|signed| signed.generation_id() != tainted.event().id());
    }

    /// What a caller saw, in order.
    pub(crate) fn answers(&self) -> String {
        self.answers.join("; ")
    }
}
