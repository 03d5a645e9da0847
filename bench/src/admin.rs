//! Rotations and taints: what they take on an idle daemon, under full signing load, and after a
//! thousand of them, beside what they are made of.

use std::time::{Duration, Instant};

use hsmd_tests::{Daemon, Hsmd};

use crate::Plan;
use crate::load::{connect, installation, press};
use crate::raw::Raw;
use crate::report::{Report, Row};
use crate::sample::{Sample, median};

/// How many of each go into one sample.
const EACH: usize = 20;
/// How many rotations come before the last ones that are measured.
const ROTATIONS: usize = 1000;

/// Measures them.
pub(crate) async fn measure(plan: &Plan, report: &mut Report) {
    let hsmd = installation().await;
    let daemon = hsmd.serve().await;
    let channel = connect(&hsmd.path("service.sock")).await;
    // On a token of its own: its pairs stay, and SoftHSM reads every object again after each change.
    let crowded = installation().await;
    let mut raw = Raw::start(&crowded);
    let mut samples: [Vec<Sample>; 6] = Default::default();
    let first = rotations(&daemon, EACH).await;
    eprintln!("{ROTATIONS} rotations");
    rotations(&daemon, ROTATIONS).await;
    let last = rotations(&daemon, EACH).await;
    for round in 1..=plan.rounds {
        eprintln!("rotations and taints, round {round} of {}", plan.rounds);
        let [commit, generate, rotate, rotate_loaded, taint, taint_loaded] = &mut samples;
        commit.push(commits(&hsmd).await);
        generate.push(raw.generate(EACH as u64));
        rotate.push(rotations(&daemon, EACH).await);
        taint.push(taints(&daemon, EACH).await);
        let pressing = press(&channel, 64);
        rotate_loaded.push(rotations(&daemon, EACH).await);
        taint_loaded.push(taints(&daemon, EACH).await);
        drop(pressing);
    }
    let names = [
        "a transaction with one INSERT",
        "C_GenerateKeyPair, raw",
        "Rotate, idle",
        "Rotate, 64 callers signing",
        "Taint, idle",
        "Taint, 64 callers signing",
    ];
    let mut rows: Vec<_> =
        names.iter().zip(&samples).map(|(name, samples)| Row::of(name, samples, None)).collect();
    rows.push(Row::of("Rotate, the first ones", &[first], None));
    rows.push(Row::of(&format!("Rotate, after {ROTATIONS} more"), &[last], None));
    report.table("Rotations and taints", rows);
    let p50 = |samples: &[Sample]| median(samples.iter().map(|sample| sample.p50));
    let [.., rotate, rotate_loaded, taint, taint_loaded] = &samples;
    report.at_most("Rotate, idle, ms at the median", 20.0, p50(rotate) / 1e3);
    report.at_most("Rotate under full load / idle", 1.5, p50(rotate_loaded) / p50(rotate));
    report.at_most("Taint under full load / idle", 1.5, p50(taint_loaded) / p50(taint));
    report.at_most("Rotate after 1,000 rotations / the first", 1.1, last.p50 / first.p50);
}

async fn rotations(daemon: &Daemon, count: usize) -> Sample {
    let mut times = Vec::new();
    for _ in 0..count {
        let head = daemon.head().await.event().id();
        times.push(timed(async || drop(daemon.rotate(head.as_str()).await.expect("Rotate"))).await);
    }
    Sample::in_turn(times)
}

async fn taints(daemon: &Daemon, count: usize) -> Sample {
    let mut times = Vec::new();
    for _ in 0..count {
        let head = daemon.head().await.event().id();
        times.push(timed(async || drop(daemon.taint(head.as_str()).await.expect("Taint"))).await);
    }
    Sample::in_turn(times)
}

/// A table of our own in the same database: what one COMMIT costs there.
async fn commits(hsmd: &Hsmd) -> Sample {
    let execute = async |sql: &str| {
        hsmd.database.execute(true, sql).await.expect("a statement that succeeds");
    };
    execute("CREATE TABLE IF NOT EXISTS bench (n int)").await;
    let mut times = Vec::new();
    for _ in 0..EACH {
        times.push(timed(async || execute("INSERT INTO bench VALUES (1)").await).await);
    }
    Sample::in_turn(times)
}

async fn timed(work: impl AsyncFnOnce()) -> Duration {
    let begun = Instant::now();
    work().await;
    begun.elapsed()
}
