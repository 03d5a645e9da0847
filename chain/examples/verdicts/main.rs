//! Prints verdicts of this verifier on mutated logs and on what their keys signed, one JSON object a line,
//! for the verifiers in other languages to compare theirs with:
//!
//! ```text
//! verdicts COUNT SEED
//! {"kind":…,"log":…,"anchor":…,"now":…,"accept":…,"why":…,"signed":{"text":…,"purpose":…,"key":…,"window":…,"accept":…}}
//! ```
//!
//! `signed` is there when the log is accepted; `window` is in milliseconds.
#![expect(clippy::print_stdout, reason = "the lines are what the program is for")]

mod logs;
mod signed;

use std::process::ExitCode;

use hsmd_chain::testing::Random;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (Some(Ok(count)), Some(Ok(seed)), None) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        println!("usage: verdicts COUNT SEED");
        return ExitCode::from(64);
    };
    let mut random = Random::new(seed);
    for number in 0..count {
        println!("{}", logs::verdict(&mut random, number));
    }
    ExitCode::SUCCESS
}
