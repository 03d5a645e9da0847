//! The tables: medians of the rounds, their spread, each row as a share of its floor, and the targets.

use std::fmt::Write;

use serde::Serialize;

use crate::sample::{Sample, median};

/// Everything that was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    tables: Vec<Table>,
    targets: Vec<Target>,
}

/// Rows that were measured in turn.
#[derive(Debug, Serialize)]
struct Table {
    title: String,
    rows: Vec<Row>,
}

/// One row of a table.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// What was measured.
    name: String,
    /// Operations a second: the median of the rounds.
    rate: f64,
    /// The smallest and largest of the rounds.
    spread: (f64, f64),
    /// Microseconds, medians of the rounds.
    p50: f64,
    p99: f64,
    /// The rate as a share of the floor's, where that means something: the median of the rounds' own
    /// ratios.
    share: Option<f64>,
    /// Microseconds of processor time, medians: of the thread that holds the session, of all others.
    cpu: Option<(f64, f64)>,
}

/// What was aimed at, and what came of it.
#[derive(Debug, Serialize)]
struct Target {
    what: String,
    bound: String,
    found: f64,
    met: bool,
}

impl Row {
    /// A row of samples, one a round, against the floor's samples of the same rounds.
    pub(crate) fn of(name: &str, samples: &[Sample], floor: Option<&[Sample]>) -> Self {
        let column = |value: fn(&Sample) -> f64| median(samples.iter().map(value));
        let rates = samples.iter().map(|sample| sample.rate);
        let share = floor.map(|floor| share(samples, floor));
        Self {
            name: name.to_owned(),
            rate: column(|sample| sample.rate),
            spread: rates
                .fold((f64::INFINITY, 0.0), |(low, high), rate| (rate.min(low), rate.max(high))),
            p50: column(|sample| sample.p50),
            p99: column(|sample| sample.p99),
            share,
            cpu: samples.iter().all(|sample| sample.cpu.is_some()).then(|| {
                let times = |of: fn((f64, f64)) -> f64| {
                    median(samples.iter().filter_map(|sample| sample.cpu.map(of)))
                };
                (times(|cpu| cpu.0), times(|cpu| cpu.1))
            }),
        }
    }
}

/// The median of the rounds' ratios of rates.
pub(crate) fn share(samples: &[Sample], floor: &[Sample]) -> f64 {
    median(samples.iter().zip(floor).map(|(sample, floor)| sample.rate / floor.rate))
}

impl Report {
    pub(crate) fn table(&mut self, title: impl Into<String>, rows: Vec<Row>) {
        self.tables.push(Table { title: title.into(), rows });
    }

    pub(crate) fn at_least(&mut self, what: &str, bound: f64, found: f64) {
        self.target(what, format!("≥ {bound:.2}"), found, found >= bound);
    }

    pub(crate) fn at_most(&mut self, what: &str, bound: f64, found: f64) {
        self.target(what, format!("≤ {bound:.2}"), found, found <= bound);
    }

    fn target(&mut self, what: &str, bound: String, found: f64, met: bool) {
        self.targets.push(Target { what: what.to_owned(), bound, found, met });
    }

    /// The report for people.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        for Table { title, rows } in &self.tables {
            text.push_str(&format!(
                "### {title}\n\n| what | a second | spread | p50 µs | p99 µs | share of floor \
                 | token CPU µs | other CPU µs |\n|---|--:|---|--:|--:|--:|--:|--:|\n"
            ));
            rows.iter().for_each(|row| row.write(&mut text));
            text.push('\n');
        }
        text.push_str("### Targets\n\n| what | aim | found | met |\n|---|--:|--:|---|\n");
        for Target { what, bound, found, met } in &self.targets {
            let met = if *met { "yes" } else { "**no**" };
            text.push_str(&format!("| {what} | {bound} | {found:.2} | {met} |\n"));
        }
        text
    }

    /// The report for programs.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and names")
    }
}

impl Row {
    fn write(&self, text: &mut String) {
        let Self { name, rate, spread: (low, high), p50, p99, share, cpu } = self;
        let digits = if *rate < 100.0 { 1 } else { 0 };
        let share = share.map(|share| format!("{share:.2}")).unwrap_or_default();
        let (token, others) = cpu
            .map(|(token, others)| (format!("{token:.1}"), format!("{others:.1}")))
            .unwrap_or_default();
        writeln!(
            text,
            "| {name} | {rate:.digits$} | {low:.digits$}–{high:.digits$} | {p50:.0} | {p99:.0} \
             | {share} | {token} | {others} |"
        )
        .expect("a string takes it");
    }
}
