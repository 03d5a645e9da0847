//! The long run: everything at once and at random, from a seed that is printed and can be given again.
//!
//! `scripts/soak MINUTES [SEED]` sets HSMD_SOAK_SECONDS and HSMD_SOAK_SEED; without them it is short.
//! The seed decides what is done in which order; what the machine makes of it differs from run to run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hsmd_chain::SignedBody;
use hsmd_fault::{Control, Scope, Times};
use hsmd_tests::{Daemon, Database, Hsmd, now, within};
use tokio::task::JoinSet;

use crate::{DOCUMENT, WINDOW, told};

const SIGNERS: usize = 8;

/// What may happen next, and how often of a hundred times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Rotate,
    Taint,
    Kill,
    DieInARotation,
    CutConnections,
    RestartServer,
    TokenFault,
    TokenPulled,
}

const ACTS: [(u64, Act); 8] = [
    (35, Act::Rotate),
    (15, Act::Taint),
    (10, Act::Kill),
    (10, Act::DieInARotation),
    (12, Act::CutConnections),
    (5, Act::RestartServer),
    (10, Act::TokenFault),
    (3, Act::TokenPulled),
];

const DEATHS: [&str; 6] = [
    "rotation::begun",
    "rotation::key-made",
    "rotation::journaled",
    "rotation::before-commit",
    "rotation::committed",
    "rotation::retired",
];

const CODES: [(&str, &str); 5] = [
    ("C_Sign", "CKR_DEVICE_ERROR"),
    ("C_SignInit", "CKR_SESSION_HANDLE_INVALID"),
    ("C_SignInit", "CKR_KEY_HANDLE_INVALID"),
    ("C_FindObjects", "CKR_GENERAL_ERROR"),
    ("C_GenerateKeyPair", "CKR_DEVICE_MEMORY"),
];

/// SplitMix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn act(&mut self) -> Act {
        let mut at = self.below(ACTS.iter().map(|(weight, _)| weight).sum());
        for (weight, act) in ACTS {
            match at.checked_sub(weight) {
                Some(rest) => at = rest,
                None => return act,
            }
        }
        unreachable!("the dice fall below the sum of the weights")
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

struct Soak {
    hsmd: Hsmd,
    control: Control,
    daemon: Option<Daemon>,
    dice: Dice,
    counts: std::collections::BTreeMap<Act, u32>,
    kills: u32,
    longest_heal: Duration,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_breaks_it() {
    let number = |name| told(name).and_then(|value| value.parse::<u64>().ok());
    let time = Duration::from_secs(number("HSMD_SOAK_SECONDS").unwrap_or(60));
    let seed = number("HSMD_SOAK_SEED").unwrap_or_else(|| now().unix_millis().unsigned_abs());
    eprintln!("soak: {time:?} from seed {seed}");

    let database = Database::create_alone().await;
    let (hsmd, control) = Hsmd::fresh().await.with_database(database).with_faults();
    hsmd.migrate().await;
    hsmd.init().await;
    let daemon = Some(hsmd.serve().await);
    let (stop, refused) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let mut signers = JoinSet::new();
    for _ in 0..SIGNERS {
        signers.spawn(sign(hsmd.rpc(), Arc::clone(&stop), Arc::clone(&refused)));
    }
    let mut soak = Soak {
        hsmd,
        control,
        daemon,
        dice: Dice(seed),
        counts: Default::default(),
        kills: 0,
        longest_heal: Duration::ZERO,
    };
    let end = Instant::now() + time;
    while Instant::now() < end {
        let act = soak.dice.act();
        *soak.counts.entry(act).or_default() += 1;
        soak.act(act).await;
        soak.heal(act).await;
    }
    stop.store(true, Ordering::SeqCst);
    let replies: Vec<SignedBody> = signers.join_all().await.concat();
    soak.account(seed, &replies, refused.load(Ordering::SeqCst)).await;
}

/// Signs until told to stop, through everything; keeps what it was given.
async fn sign(
    rpc: hsmd_tests::Rpc,
    stop: Arc<AtomicBool>,
    refused: Arc<AtomicU64>,
) -> Vec<SignedBody> {
    let mut replies = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        match rpc.sign(DOCUMENT).await {
            Ok(signed) => replies.push(signed),
            Err(_) => drop(refused.fetch_add(1, Ordering::SeqCst)),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    replies
}

impl Soak {
    fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("a daemon between two acts")
    }

    async fn act(&mut self, act: Act) {
        match act {
            Act::Rotate => self.advance(false).await,
            Act::Taint => self.advance(true).await,
            Act::Kill => {
                self.daemon.take().expect("a daemon").kill().await;
                self.kills += 1;
                self.daemon = Some(self.hsmd.launch(&[]));
            }
            Act::DieInARotation => self.die_in_a_rotation().await,
            Act::CutConnections => self.hsmd.database.cut_connections().await,
            Act::RestartServer => {
                self.hsmd.database.stop_server();
                self.hsmd.database.start_server();
            }
            Act::TokenFault => {
                let (function, code) = self.dice.one_of(&CODES);
                let times = Times::next(1 + self.dice.below(2) as u32);
                let after = self.dice.below(4) == 0;
                let (function, code) = (function.parse().unwrap(), code.parse().unwrap());
                self.control.fail(function, code, times, after).unwrap();
                self.advance(false).await;
                self.control.clear(Scope::All).unwrap();
            }
            Act::TokenPulled => {
                self.control.drop_token().unwrap();
                within(Duration::from_secs(10), "it has noticed", async || {
                    (!self.daemon().is_serving("").await).then_some(())
                })
                .await;
                self.control.restore_token().unwrap();
            }
        }
    }

    /// Once, whatever comes of it: a refusal is as good an answer as any.
    async fn advance(&self, taint: bool) {
        let head = self.hsmd.observer.history().head().event().id();
        let done = match taint {
            true => self.daemon().taint(head.as_str()).await,
            false => self.daemon().rotate(head.as_str()).await,
        };
        drop(done);
    }

    async fn die_in_a_rotation(&mut self) {
        self.daemon.take().expect("a daemon").stop().await;
        let mut daemon = self.hsmd.launch_until(self.dice.one_of(&DEATHS));
        daemon.ready().await;
        self.daemon = Some(daemon);
        self.advance(self.dice.0.is_multiple_of(2)).await;
        self.daemon.take().expect("a daemon").died().await;
        self.kills += 1;
        self.daemon = Some(self.hsmd.launch(&[]));
    }

    /// Without a person: it signs, and then it rotates.
    async fn heal(&mut self, act: Act) {
        let began = Instant::now();
        let what = format!("it signs and rotates after {act:?}");
        within(Duration::from_secs(60), &what, async || self.daemon().sign(DOCUMENT).await.ok())
            .await;
        let head = self.daemon().head().await.event().id();
        within(Duration::from_secs(60), &what, async || {
            self.daemon().rotate(head.as_str()).await.ok()
        })
        .await;
        self.longest_heal = self.longest_heal.max(began.elapsed());
    }

    /// Every reply and the whole log are verified, and counted.
    async fn account(self, seed: u64, replies: &[SignedBody], refused: u64) {
        let log = self.hsmd.history().await;
        let (mut good, mut tainted) = (0, 0);
        for reply in replies {
            let generation = log.generation(&reply.generation_id()).expect("a known generation");
            let number = generation.event().sequence_number();
            let successor = log.event(number + 1);
            if successor.is_some_and(|event| event.event().taint_previous()) {
                tainted += 1;
                reply.verify(&log, now(), WINDOW).expect_err("signed by a key tainted since");
            } else {
                good += 1;
                reply.verify(&log, now(), WINDOW).expect("a reply that verifies");
            }
        }
        let events = log.events().len();
        let Self { counts, kills, longest_heal, daemon, .. } = self;
        daemon.expect("a daemon").stop().await;
        println!(
            "soak: seed {seed}: {counts:?}: {kills} kills, {} replies ({good} verified, {tainted} \
             dead by a later taint), {refused} refusals, {events} events, one history; the longest \
             heal took {longest_heal:?}",
            replies.len()
        );
        assert!(good > 0 && events > 1);
    }
}
