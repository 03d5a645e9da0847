//! The parsers against the seed corpus of the fuzz targets and against long random mutations of it.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::fs;
use std::path::{Path, PathBuf};

use hsmd_chain::Payload;
use hsmd_chain::testing::{Random, oracle::ORACLES};

/// Mutants tried per oracle. A fixed seed: a failure is found again.
const ROUNDS: u64 = 30_000;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn the_seed_corpus_keeps_every_rule() {
    for (target, oracle) in ORACLES {
        let seeds = corpus(target);
        assert!(seeds.len() >= 4, "{target} has lost its seeds");
        seeds.iter().for_each(|seed| oracle(seed));
    }
}

#[test]
fn random_mutations_keep_every_rule() {
    for (target, oracle) in ORACLES {
        let seeds = corpus(target);
        let mut random = Random::new(0x9e37_79b9_7f4a_7c15);
        for _ in 0..ROUNDS {
            let mut bytes = seeds[random.below(seeds.len())].clone();
            for _ in 0..=random.below(3) {
                let other = &seeds[random.below(seeds.len())];
                random.mutate(&mut bytes, other, TOKENS);
            }
            oracle(&bytes);
        }
    }
}

#[test]
fn random_tokens_keep_the_payload_rules() {
    let (_, payload) = ORACLES[1];
    let mut random = Random::new(0x2545_f491_4f6c_dd1d);
    let mut accepted = 0;
    for _ in 0..ROUNDS {
        let mut bytes = b"{\"".to_vec();
        for _ in 0..random.below(24) {
            bytes.extend_from_slice(random.pick(TOKENS).as_bytes());
        }
        payload(&bytes);
        let text = balanced(&mut random, 0);
        payload(text.as_bytes());
        accepted += u64::from(Payload::parse(text).is_ok());
    }
    assert!((ROUNDS / 10..ROUNDS / 10 * 9).contains(&accepted), "{accepted} of {ROUNDS} accepted");
}

/// What JSON and our formats are made of, and what they must not be.
const TOKENS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\"a\"",
    "\"b\"",
    "\"\\u0061\"",
    "a",
    "\\",
    "\\\"",
    "\\\\",
    "\\/",
    "\\n",
    "\\x",
    "\\u",
    "\\u00",
    "\\u0041",
    "\\ud800",
    "\\udc00",
    "\\ud83d\\ude00",
    "0",
    "1",
    "-",
    "+",
    ".",
    "e",
    "E",
    "01",
    "-0",
    "1.5",
    "1e5",
    "true",
    "false",
    "null",
    "nul",
    " ",
    "\t",
    "\n",
    "\r",
    "\u{7f}",
    "\u{1}",
    "é",
    "\u{feff}",
    "\u{2028}",
    "\"a\":",
    "{\"a\":1}",
    "[1,2]",
    "\"publicKey\":",
    "999999999999999999999",
];

/// Mostly well-formed text, which random tokens hardly ever are.
fn balanced(random: &mut Random, level: usize) -> String {
    let names = ["a", "b", "\\u0061", "\\u0062", "c", "", "\\ud83d\\ude00", "😀"];
    let count = random.below(4);
    let members: Vec<String> = (0..count)
        .map(|_| format!("\"{}\":{}", random.pick(&names), value(random, level + 1)))
        .collect();
    format!("{{{}}}", members.join(","))
}

fn value(random: &mut Random, level: usize) -> String {
    match random.below(if level < 36 { 9 } else { 6 }) {
        0 => "-12.5e-3".to_owned(),
        1 => "\"x y\\\\ \\\"\"".to_owned(),
        2 => "null".to_owned(),
        3 => random.pick(&["0", "00", "\"\\ud800\"", " 1", "\"\t\"", "1.", "tru"]).to_string(),
        4 => "[]".to_owned(),
        5 => "true".to_owned(),
        6 => format!("[{}]", value(random, level + 1)),
        7 => format!("[{},{}]", value(random, level + 1), value(random, level + 1)),
        _ => balanced(random, level),
    }
}
