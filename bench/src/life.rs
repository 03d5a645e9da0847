//! A long log and a long life: from start to serving with 1,000 events, and the memory that a daemon
//! holds after a million signatures.

use std::time::{Duration, Instant};

use crate::load::{self, Ask, connect, installation};
use crate::report::{Report, Row};
use crate::sample::{Sample, median};

const EVENTS: usize = 1000;
const SIGNATURES: f64 = 1e6;
const STARTS: usize = 5;

/// Measures both.
pub(crate) async fn measure(report: &mut Report) {
    let hsmd = installation().await;
    let daemon = hsmd.serve().await;
    let channel = connect(&hsmd.path("service.sock")).await;
    eprintln!("a million signatures");
    let mut signed = 0.0;
    while signed < SIGNATURES {
        signed += load::measure(&channel, Ask::Sign, 64, 5000).await.rate * 5.0;
    }
    let resident = daemon.resident_kib() as f64 / 1024.0;
    report.at_most("MiB resident after a million signatures", 40.0, resident);

    eprintln!("{EVENTS} events");
    for _ in 0..EVENTS {
        daemon.rotate_head().await;
    }
    daemon.stop().await;
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let begun = Instant::now();
        let daemon = hsmd.launch(&[]);
        while !daemon.is_serving("").await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        times.push(begun.elapsed());
        daemon.stop().await;
    }
    let millis = median(times.iter().map(|time| time.as_secs_f64() * 1e3));
    let sample = Sample::in_turn(times);
    report.table("Start", vec![Row::of("start to serving, 1,000 events", &[sample], None)]);
    report.at_most("ms from start to serving with 1,000 events", 400.0, millis);
}
