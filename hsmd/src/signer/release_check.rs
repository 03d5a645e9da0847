//! The release check: which replies may still leave. It closes for a generation when its taint is
//! accepted, and for every generation when the lease on the token that signs has expired, or, in a standby
//! pair, the lease on the writer lock.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use super::token_lease::{Against, TokenLease};

/// What may leave. Cheap to ask: on the path of every signature.
#[derive(Debug)]
pub struct ReleaseCheck {
    /// Generations below this number are dead to us.
    dead_below: AtomicU32,
    /// Held for reading while a reply is handed over and for writing while the check closes: so once it is
    /// closed, no hand-over that began before is still running.
    passage: RwLock<()>,
    /// Another daemon was seen to hold the lock.
    revoked: AtomicBool,
    lease: Option<Lease>,
    /// A taint is carried out.
    tainting: AtomicBool,
    /// One a token, in the order of the configuration.
    tokens: Box<[TokenLease]>,
    /// The token that signs.
    active: AtomicUsize,
}

/// The lease on the writer lock: valid for a while after each proof.
#[derive(Debug)]
struct Lease {
    grace: Duration,
    epoch: Instant,
    /// Milliseconds after the epoch at which the newest proof was asked for, plus one; 0 is none.
    proved: AtomicU64,
}

impl ReleaseCheck {
    /// An open release check before so many tokens; `grace` is how long a proof of the lock lasts, where one
    /// is needed.
    pub fn new(grace: Option<Duration>, tokens: usize) -> Self {
        Self {
            dead_below: AtomicU32::new(0),
            passage: RwLock::new(()),
            revoked: AtomicBool::new(false),
            lease: grace.map(|grace| Lease {
                grace,
                epoch: Instant::now(),
                proved: AtomicU64::new(0),
            }),
            tainting: AtomicBool::new(false),
            tokens: (0..tokens).map(|_| TokenLease::default()).collect(),
            active: AtomicUsize::new(0),
        }
    }

    /// The lease on a token.
    pub fn token(&self, index: usize) -> &TokenLease {
        &self.tokens[index]
    }

    /// Notes which token signs.
    pub fn set_active(&self, index: usize) {
        self.active.store(index, Ordering::Release);
    }

    fn active_token(&self) -> Option<&TokenLease> {
        self.tokens.get(self.active.load(Ordering::Acquire))
    }

    /// What a look at the token that signs has shown against this daemon.
    pub fn stands_against(&self) -> Option<String> {
        Some(self.active_token()?.against()?.reason())
    }

    /// Why the token that signs is not this daemon's, or can't be shown to be.
    pub fn ownership_problem(&self) -> Option<String> {
        self.active_token().and_then(TokenLease::problem)
    }

    /// The same of any token.
    pub fn any_ownership_problem(&self) -> Option<String> {
        self.tokens.iter().find_map(TokenLease::problem)
    }

    /// The same of the tokens that do not sign: then nothing is rotated.
    pub fn ownership_problems_elsewhere(&self) -> Vec<String> {
        let active = self.active.load(Ordering::Acquire);
        let others = self.tokens.iter().enumerate().filter(|(index, _)| *index != active);
        others.filter_map(|(_, token)| token.problem()).collect()
    }

    /// Whether the record of this daemon is gone from a token that no other has claimed.
    pub fn has_lost_record(&self) -> bool {
        self.tokens.iter().any(|token| matches!(token.against(), Some(Against::RecordGone(_))))
    }

    /// Whether another daemon's claim of a token stands.
    pub fn is_superseded(&self) -> bool {
        self.tokens.iter().any(|token| matches!(token.against(), Some(Against::Superseded(_))))
    }

    /// Whether readers may be shown our log as the newest: not while another daemon owns a token, nor, in a
    /// standby pair, without the leases. A frozen feed would hide a taint.
    pub fn may_publish(&self) -> bool {
        let shut = self.tokens.iter().any(TokenLease::is_shut);
        !shut && (self.lease.is_none() || self.lease_is_valid())
    }

    /// The same while this daemon starts, before it owns the tokens: in a standby pair it needs the lock, or the
    /// tokens, with which it may have made a taint alone.
    pub fn may_publish_at_start(&self) -> bool {
        let owns_all = || self.tokens.iter().all(|token| token.is_needed() && token.is_valid());
        !self.is_superseded() && (self.lease.is_none() || self.holds_lock() || owns_all())
    }

    /// Lets nothing signed by a generation below this number leave any more.
    pub fn close_below(&self, sequence_number: u32) {
        let _no_hand_over = self.passage.write();
        self.dead_below.store(sequence_number, Ordering::Release);
    }

    /// Opens again: the taint did not happen.
    pub fn reopen_from(&self, sequence_number: u32) {
        self.dead_below.store(sequence_number, Ordering::Release);
    }

    /// Whether what this generation signed may leave.
    pub fn admits(&self, sequence_number: u32) -> bool {
        sequence_number >= self.dead_below.load(Ordering::Acquire)
    }

    /// Hands something over if it may leave; `close_below` waits until that has ended. Without a lease
    /// nothing leaves: the other daemon may have tainted the generation that signed it.
    pub fn pass<T>(&self, sequence_number: u32, hand_over: impl FnOnce() -> T) -> Option<T> {
        let _hand_over = self.passage.read();
        (self.admits(sequence_number) && self.lease_is_valid()).then(hand_over)
    }

    /// Notes whether another daemon was seen to hold the lock.
    pub fn set_revoked(&self, revoked: bool) {
        self.revoked.store(revoked, Ordering::Release);
    }

    /// Notes that a proof of the lock, asked for at `asked`, has succeeded.
    pub fn renew_lease(&self, asked: Instant) {
        if let Some(lease) = &self.lease {
            let millis = asked.saturating_duration_since(lease.epoch).as_millis() as u64;
            lease.proved.fetch_max(millis + 1, Ordering::AcqRel);
        }
    }

    /// Whether what the active token signs may leave: this daemon holds the lock and owns that token.
    pub fn lease_is_valid(&self) -> bool {
        self.holds_lock() && self.active_token().is_none_or(TokenLease::is_valid)
    }

    /// Whether the history may be changed: this daemon holds the lock and owns all tokens.
    pub fn holds_all(&self) -> bool {
        self.needs_no_lock_now() && self.tokens.iter().all(TokenLease::is_valid)
    }

    /// Whether a token may be changed.
    pub fn may_change(&self, token: usize) -> bool {
        self.needs_no_lock_now() && self.token(token).is_valid()
    }

    /// Notes that a taint is carried out: it needs no lock where the tokens' records show that they are ours.
    pub fn set_tainting(&self, tainting: bool) {
        self.tainting.store(tainting, Ordering::Release);
    }

    fn needs_no_lock_now(&self) -> bool {
        let tainting = self.tainting.load(Ordering::Acquire);
        (tainting && self.tokens.iter().all(TokenLease::is_needed)) || self.holds_lock()
    }

    /// Whether no other daemon was seen to hold the lock and, where a lease is needed, the newest proof is
    /// younger than its grace.
    pub fn holds_lock(&self) -> bool {
        if self.revoked.load(Ordering::Acquire) {
            return false;
        }
        let Some(lease) = &self.lease else { return true };
        match lease.proved.load(Ordering::Acquire) {
            0 => false,
            proved => {
                let at = lease.epoch + Duration::from_millis(proved - 1);
                at.elapsed() < lease.grace
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_needs_its_tokens_lease_and_a_rotation_all_of_them() {
        let release_check = ReleaseCheck::new(None, 2);
        for index in 0..2 {
            release_check.token(index).own(Duration::from_secs(60), Instant::now());
        }
        let states = || (release_check.pass(0, || ()).is_some(), release_check.holds_all());
        assert_eq!(states(), (true, true));
        release_check.token(1).set_against(Some(Against::Released));
        assert_eq!(states(), (true, false));
        assert!(!release_check.may_publish());
        release_check.set_active(1);
        assert_eq!(states(), (false, false));
        release_check.token(1).looked(Instant::now());
        assert_eq!(states(), (true, true));
    }

    #[test]
    fn a_taint_needs_no_lock_where_the_records_say_whose_the_tokens_are() {
        let release_check = ReleaseCheck::new(Some(Duration::ZERO), 1);
        assert!(!release_check.may_change(0));
        release_check.set_tainting(true);
        assert!(!release_check.may_change(0), "there is no record");
        release_check.token(0).own(Duration::from_secs(60), Instant::now());
        assert!(release_check.may_change(0) && release_check.holds_all());
        assert_eq!(release_check.pass(0, || "sent"), None, "a signature needs it");
        release_check.token(0).set_against(Some(Against::Superseded("another".into())));
        assert!(!release_check.may_change(0));
        release_check.set_tainting(false);
        release_check.token(0).looked(Instant::now());
        assert!(!release_check.may_change(0));
    }

    #[test]
    fn what_a_tainted_generation_signed_does_not_leave() {
        let release_check = ReleaseCheck::new(None, 0);
        assert_eq!(release_check.pass(3, || "sent"), Some("sent"));
        release_check.close_below(4);
        assert_eq!(release_check.pass(3, || "sent"), None);
        assert_eq!(release_check.pass(4, || "sent"), Some("sent"));
        release_check.reopen_from(3);
        assert!(release_check.admits(3));
    }

    #[test]
    fn a_lease_runs_out() {
        let release_check = ReleaseCheck::new(Some(Duration::from_secs(60)), 0);
        assert!(!release_check.lease_is_valid(), "nothing was proved yet");
        release_check.renew_lease(Instant::now());
        assert!(release_check.lease_is_valid());
        assert_eq!(release_check.pass(0, || "sent"), Some("sent"));
        let release_check = ReleaseCheck::new(Some(Duration::ZERO), 0);
        release_check.renew_lease(Instant::now());
        assert!(!release_check.lease_is_valid());
        assert_eq!(release_check.pass(0, || "sent"), None);
    }

    #[test]
    fn a_lock_that_another_daemon_holds_ends_every_lease() {
        for grace in [None, Some(Duration::from_secs(60))] {
            let release_check = ReleaseCheck::new(grace, 0);
            release_check.renew_lease(Instant::now());
            release_check.set_revoked(true);
            release_check.renew_lease(Instant::now());
            assert!(!release_check.lease_is_valid());
            assert_eq!(release_check.pass(0, || "sent"), None);
            release_check.set_revoked(false);
            assert!(release_check.lease_is_valid());
        }
    }

    #[test]
    fn an_older_proof_that_is_answered_later_does_not_shorten_the_lease() {
        let release_check = ReleaseCheck::new(Some(Duration::from_secs(60)), 0);
        let now = Instant::now();
        release_check.renew_lease(now + Duration::from_secs(1));
        let newest = release_check.lease.as_ref().unwrap().proved.load(Ordering::Acquire);
        release_check.renew_lease(now);
        assert_eq!(release_check.lease.as_ref().unwrap().proved.load(Ordering::Acquire), newest);
    }

    #[test]
    fn closing_waits_for_the_hand_over_that_has_begun() {
        let release_check = ReleaseCheck::new(None, 0);
        let order = parking_lot::Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let sent = release_check.pass(0, || {
                scope.spawn(|| {
                    release_check.close_below(1);
                    order.lock().push("closed");
                });
                // The closing thread is at the lock, or not even there: either way it has not closed.
                while release_check.passage.try_read().is_some() {
                    std::thread::yield_now();
                }
                assert!(release_check.admits(0));
                order.lock().push("sent");
            });
            assert!(sent.is_some());
        });
        assert_eq!(*order.lock(), ["sent", "closed"]);
        assert_eq!(release_check.pass(0, || "sent"), None);
    }
}
