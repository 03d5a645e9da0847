//! The paths to a signature: Sign, Endorse and SignBatch by several callers, over the Unix socket and
//! over mutual TLS, next to the raw session and to calls that do nothing.

use hsmd_tests::Hsmd;
use tonic::transport::Channel;

use crate::Plan;
use crate::cpu::Cpu;
use crate::floor;
use crate::load::{Ask, connect, installation, measure};
use crate::raw::Raw;
use crate::report::{Report, Row, share};
use crate::sample::{Sample, median};
use crate::tls::Tls;

const CALLERS: [usize; 4] = [1, 16, 64, 256];

/// One row in the making.
struct Series {
    name: String,
    channel: Channel,
    ask: Ask,
    callers: usize,
    samples: Vec<Sample>,
}

impl Series {
    fn new(over: &str, channel: &Channel, ask: Ask, callers: usize) -> Self {
        let what = match ask {
            Ask::Batch => "SignBatch of 64".to_owned(),
            Ask::BatchAccepting => "SignBatch of 64 as leaves".to_owned(),
            Ask::EndorseAccepting => "Endorse, leaves accepted".to_owned(),
            Ask::Echo => "health check".to_owned(),
            ask => format!("{ask:?}"),
        };
        let plural = if callers == 1 { "" } else { "s" };
        let name = format!("{what}, {callers} caller{plural}, {over}");
        Self { name, channel: channel.clone(), ask, callers, samples: Vec::new() }
    }

    fn row(&self, floor: &[Sample]) -> Row {
        let floor = (self.ask != Ask::Echo).then_some(floor);
        Row::of(&self.name, &self.samples, floor)
    }
}

/// On token keys, as a daemon comes.
pub(crate) async fn plain(plan: &Plan, report: &mut Report) {
    let (hsmd, tls) = Tls::configure(installation().await);
    let daemon = hsmd.serve().await;
    let unix = connect(&hsmd.path("service.sock")).await;
    let remote = tls.connect().await;
    let floor_of_endorse = floor::Process::start(&hsmd).await;
    let unsigned = connect(floor_of_endorse.socket()).await;
    let mut series = Vec::new();
    for (over, channel) in [("Unix socket", &unix), ("mTLS", &remote)] {
        for ask in [Ask::Sign, Ask::Endorse] {
            series.extend(CALLERS.map(|callers| Series::new(over, channel, ask, callers)));
        }
        series.extend([1, 4].map(|callers| Series::new(over, channel, Ask::Batch, callers)));
        series.extend([1, 64].map(|callers| Series::new(over, channel, Ask::Echo, callers)));
        let accepting = |callers| Series::new(over, channel, Ask::EndorseAccepting, callers);
        series.extend([1, 256].map(accepting));
        series.push(Series::new(over, channel, Ask::BatchAccepting, 1));
    }
    let over = "a server that signs nothing, Unix socket";
    series.push(Series::new(over, &unsigned, Ask::EndorseAccepting, 256));
    let floor = rounds(plan, &hsmd, daemon.pid(), &mut series).await;
    drop(daemon);
    let mut rows = vec![Row::of("raw session", &floor, None)];
    rows.extend(series.iter().map(|series| series.row(&floor)));
    report.table("Paths, keys on the token", rows);

    if !plan.row.is_empty() {
        return;
    }
    let found = |name: &str| {
        let found = series.iter().find(|series| series.name == name);
        found.expect("a row of this name").samples.as_slice()
    };
    let p50 = |samples: &[Sample]| median(samples.iter().map(|sample| sample.p50));
    let signing = found("Sign, 64 callers, Unix socket");
    report.at_least("Sign, 64 callers, share of raw", 0.90, share(signing, &floor));
    let remote = found("Sign, 64 callers, mTLS");
    report.at_least("the same over mTLS", 0.85, share(remote, &floor));
    for callers in ["1 caller", "4 callers"] {
        let batch = found(&format!("SignBatch of 64, {callers}, Unix socket"));
        let what = format!("SignBatch of 64, {callers}, share of raw");
        report.at_least(&what, 0.97, share(batch, &floor));
    }
    let leaves = found("Endorse, leaves accepted, 256 callers, Unix socket");
    report.at_least(
        "Endorse, 256 callers that accept leaves, share of raw",
        1.4,
        share(leaves, &floor),
    );
    let unsigned = found(&format!("Endorse, leaves accepted, 256 callers, {over}"));
    report.at_least("the same, share of a server that signs nothing", 0.9, share(leaves, unsigned));
    let token = median(leaves.iter().filter_map(|sample| sample.cpu.map(|cpu| cpu.0)));
    report.at_most("the same, µs of the token's thread for each", 6.0, token);
    let leaves = found("SignBatch of 64 as leaves, 1 caller, Unix socket");
    report.at_least(
        "SignBatch of 64 as leaves, 1 caller, share of raw",
        5.0,
        share(leaves, &floor),
    );
    let p99 = median(signing.iter().map(|sample| sample.p99));
    report.at_most("p99 with 64 callers / (64 × raw p50)", 3.0, p99 / (64.0 * p50(&floor)));
    let one = found("Sign, 1 caller, Unix socket");
    let over = p50(one) - p50(found("health check, 1 caller, Unix socket")) - p50(&floor);
    report.at_most("one caller: p50 − echo's − raw's, µs", 30.0, over);
}

/// Measures the raw session and every row, in turn, as often as planned; returns the raw session's.
async fn rounds(plan: &Plan, hsmd: &Hsmd, daemon: i32, series: &mut Vec<Series>) -> Vec<Sample> {
    series.retain(|series| series.name.contains(&plan.row));
    let mut raw = Raw::start(hsmd);
    let mut floor = Vec::new();
    for round in 1..=plan.rounds {
        eprintln!("round {round} of {}", plan.rounds);
        floor.push(raw.sign(plan.millis));
        for series in series.iter_mut() {
            let Series { channel, ask, callers, samples, .. } = series;
            let cpu = Cpu::now(daemon);
            let sample = measure(channel, *ask, *callers, plan.millis).await;
            let each = cpu.each(daemon, sample.rate * plan.millis as f64 / 1e3);
            samples.push(Sample { cpu: Some(each), ..sample });
        }
    }
    floor
}
