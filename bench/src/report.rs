//! The table: medians of the rounds, their spread, and each row as a share of its floor.

use serde::Serialize;

use crate::raw::Sample;

/// One row of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) name: String,
    /// Operations a second: the median of the rounds.
    pub(crate) rate: f64,
    /// The smallest and largest of the rounds.
    pub(crate) spread: (f64, f64),
    /// Microseconds, medians of the rounds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// The rate as a share of that of the raw session, where that means something: the median of the
    /// rounds' own ratios.
    pub(crate) share: Option<f64>,
}

impl Row {
    /// A row of samples, one a round, against the floor's samples of the same rounds.
    pub(crate) fn of(name: &str, samples: &[Sample], floor: Option<&[Sample]>) -> Self {
        let column = |value: fn(&Sample) -> f64| median(samples.iter().map(value));
        let rates = samples.iter().map(|sample| sample.rate);
        let ratios = floor.map(|floor| {
            median(samples.iter().zip(floor).map(|(sample, floor)| sample.rate / floor.rate))
        });
        Self {
            name: name.to_owned(),
            rate: column(|sample| sample.rate),
            spread: rates
                .fold((f64::INFINITY, 0.0), |(low, high), rate| (rate.min(low), rate.max(high))),
            p50: column(|sample| sample.p50),
            p99: column(|sample| sample.p99),
            share: ratios,
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The table for people.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut text = String::from(
        "| what | a second | spread | p50 µs | p99 µs | share of raw |\n|---|--:|---|--:|--:|--:|\n",
    );
    for Row { name, rate, spread: (low, high), p50, p99, share } in rows {
        let share = share.map(|share| format!("{share:.2}")).unwrap_or_default();
        text.push_str(&format!(
            "| {name} | {rate:.0} | {low:.0}–{high:.0} | {p50:.0} | {p99:.0} | {share} |\n"
        ));
    }
    text
}

/// The table for programs.
pub(crate) fn json(rows: &[Row]) -> String {
    serde_json::to_string_pretty(rows).expect("numbers and names")
}
