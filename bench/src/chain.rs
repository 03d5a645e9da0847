//! Verification: whole logs and a single extension, without a daemon.

use std::time::{Duration, Instant};

use hsmd_chain::testing::{LogBuilder, SoftwareKey};
use hsmd_chain::{
    Anchor, BatchedSignature, EndorsementPayload, KeyLog, PublicKey, SignedEvent, SignedPayload,
    Timestamp,
};

use crate::Plan;
use crate::report::{Report, Row};
use crate::sample::{Sample, median};

/// Verifies logs of 100 and 10,000 events, and extends them by one.
pub(crate) fn measure(plan: &Plan, report: &mut Report) {
    let (short, long) = (Log::of_length(100), Log::of_length(10_000));
    let times = |log: &Log, work: fn(&Log, u64) -> Sample| -> Vec<Sample> {
        (0..plan.rounds).map(|_| work(log, plan.millis)).collect()
    };
    let one = times(&short, Log::measure_signature);
    let rows = [
        ("verify one signature", one.clone()),
        ("verify a log of 100 events", times(&short, Log::measure)),
        ("verify a log of 10,000 events", times(&long, Log::measure)),
        ("extend a log of 100 events", times(&short, Log::measure_extension)),
        ("extend a log of 10,000 events", times(&long, Log::measure_extension)),
    ];
    let p50 = |samples: &[Sample]| median(samples.iter().map(|sample| sample.p50));
    let rate = 1e4 * 1e6 / p50(&rows[2].1);
    let core = 1e6 / p50(&one);
    report.at_least("events a second of a long log / signatures of one core", 1.7, rate / core);
    let grown = p50(&rows[4].1) / p50(&rows[3].1);
    report.at_most("an extension of 10,000 events / of 100", 1.1, grown);
    let (plain, batched) = endorsements(plan);
    let ratio = median(batched.iter().zip(&plain).map(|(batched, plain)| batched.p50 / plain.p50));
    report.at_most("verifying 1,000 endorsements of one batch / 1,000 plain ones", 0.12, ratio);
    let endorsements =
        [("verify 1,000 plain endorsements", plain), ("verify 1,000 of one batch", batched)];
    let rows = rows.iter().chain(&endorsements);
    let rows = rows.map(|(name, samples)| Row::of(name, samples, None));
    report.table("Verification", rows.collect());
}

/// A thousand endorsements, from their published texts: each signed on its own, and as leaves of one
/// batch. Each round takes a log that remembers no batch.
fn endorsements(plan: &Plan) -> (Vec<Sample>, Vec<Sample>) {
    let builder = LogBuilder::new("bench");
    let now = builder.head().event().created_at();
    let expiration = now.saturating_add(Duration::from_secs(3600));
    let keys: Vec<PublicKey> = (0..1000)
        .map(|number| *SoftwareKey::from_seed(&format!("service {number}")).public_key())
        .collect();
    let payload = |key: &PublicKey| {
        EndorsementPayload::new("access", *key, expiration).expect("a purpose").text()
    };
    let payloads: Vec<String> = keys.iter().map(payload).collect();
    let plain: Vec<String> =
        payloads.iter().map(|payload| builder.sign(0, payload).to_json()).collect();
    let batched: Vec<String> =
        builder.batch(0, &payloads).iter().map(BatchedSignature::to_json).collect();
    let verify = |texts: &[String]| {
        let log = builder.log();
        let begun = Instant::now();
        for (text, key) in texts.iter().zip(&keys) {
            SignedPayload::parse(text)
                .expect("a signed payload")
                .verify_endorsement(&log, "access", key, now, Duration::ZERO)
                .expect("a good endorsement");
        }
        Sample::in_turn(vec![begun.elapsed()])
    };
    (0..plan.rounds).map(|_| (verify(&plain), verify(&batched))).unzip()
}

/// A log of so many events, to be verified again and again.
struct Log {
    events: Vec<SignedEvent>,
    json: String,
    anchor: Anchor,
    now: Timestamp,
}

const SKEW: Duration = Duration::from_secs(5);
const EXTENSIONS: usize = 50;

impl Log {
    /// Signs the log in software.
    fn of_length(length: usize) -> Self {
        let builder = LogBuilder::of_length("bench", length);
        let events = builder.events().to_vec();
        let now = events.last().expect("an event").event().created_at();
        let mut log =
            Self { anchor: Anchor::new(builder.identity()), events, json: String::new(), now };
        log.json = log.verified(length).to_json();
        log
    }

    fn verified(&self, length: usize) -> KeyLog {
        KeyLog::verify(self.events[..length].to_vec(), &self.anchor, self.now, SKEW)
            .expect("a log that verifies")
    }

    /// Verifies the whole published log, at least once and for so long.
    fn measure(&self, millis: u64) -> Sample {
        self.repeat(millis, || {
            KeyLog::verify_json(self.json.as_bytes(), &self.anchor, self.now, SKEW)
                .expect("a log that verifies");
        })
    }

    /// Verifies the signature of the last event, on one core.
    fn measure_signature(&self, millis: u64) -> Sample {
        let last = self.events.last().expect("an event");
        let key = last.event().public_key();
        self.repeat(millis, || {
            key.verify(last.text().as_bytes(), last.signature()).expect("a good signature");
        })
    }

    /// Extends the log by its last events, one by one. It is not shared meanwhile: a log that is
    /// shared is copied first.
    fn measure_extension(&self, _: u64) -> Sample {
        let (known, new) = self.events.split_at(self.events.len() - EXTENSIONS);
        let mut log = self.verified(known.len());
        let extend = |event: &SignedEvent| {
            let one = Instant::now();
            log.extend(event.clone(), self.now, SKEW).expect("an extension");
            one.elapsed()
        };
        Sample::in_turn(new.iter().map(extend).collect())
    }

    fn repeat(&self, millis: u64, work: impl Fn()) -> Sample {
        let (began, mut times) = (Instant::now(), Vec::new());
        while times.is_empty() || began.elapsed() < Duration::from_millis(millis) {
            let one = Instant::now();
            work();
            times.push(one.elapsed());
        }
        Sample::of(times, began.elapsed())
    }
}
