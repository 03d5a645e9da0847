//! The rounds: what is measured, in which order, on which installation.

use hsmd_tests::{Hsmd, KEY_LABEL};

use crate::chain::Log;
use crate::load::{Ask, connect, measure};
use crate::raw::{Raw, Sample};
use crate::report::Row;

const CALLERS: [usize; 4] = [1, 16, 64, 256];

/// Measures everything.
pub(crate) async fn run(rounds: usize, millis: u64) -> Vec<Row> {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    let mut raw = Raw::start(hsmd_softhsm::MODULE, hsmd.token.conf(), hsmd.path("pin"), KEY_LABEL);
    let channel = connect(&hsmd.path("service.sock")).await;

    let mut floor = Vec::new();
    let mut rows: Vec<(String, Ask, usize, Vec<Sample>)> = Vec::new();
    for callers in CALLERS {
        rows.push((format!("Sign, {callers} callers"), Ask::Sign, callers, Vec::new()));
    }
    for callers in CALLERS {
        rows.push((format!("Endorse, {callers} callers"), Ask::Endorse, callers, Vec::new()));
    }
    rows.push(("SignBatch of 64, 1 caller".into(), Ask::Batch, 1, Vec::new()));
    rows.push(("echo (health check), 1 caller".into(), Ask::Echo, 1, Vec::new()));
    rows.push(("echo (health check), 64 callers".into(), Ask::Echo, 64, Vec::new()));
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        floor.push(raw.measure(millis));
        for (_, ask, callers, samples) in &mut rows {
            samples.push(measure(&channel, *ask, *callers, millis).await);
        }
    }
    drop(daemon);

    let mut table = vec![Row::of("raw session", &floor, None)];
    for (name, ask, _, samples) in &rows {
        let floor = (*ask != Ask::Echo).then_some(floor.as_slice());
        table.push(Row::of(name, samples, floor));
    }
    table.extend(verification(rounds, millis));
    table
}

fn verification(rounds: usize, millis: u64) -> Vec<Row> {
    let (short, long) = (Log::of_length(100), Log::of_length(10_000));
    let times = |log: &Log, work: fn(&Log, u64) -> Sample| -> Vec<Sample> {
        (0..rounds).map(|_| work(log, millis)).collect()
    };
    [
        ("verify a log of 100 events", times(&short, Log::measure)),
        ("verify a log of 10,000 events", times(&long, Log::measure)),
        ("extend a log of 100 events", times(&short, Log::measure_extension)),
        ("extend a log of 10,000 events", times(&long, Log::measure_extension)),
    ]
    .iter()
    .map(|(name, samples)| Row::of(name, samples, None))
    .collect()
}
