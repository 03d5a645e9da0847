//! The daemon's parsers against the seed corpus of their fuzz targets, and against what becomes of the
//! seeds when pieces of them are cut out, doubled, exchanged and changed.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

use std::fs;
use std::path::{Path, PathBuf};

use hsmd_chain::testing::Random;

#[path = "../fuzz/oracle.rs"]
mod oracle;

/// Mutants tried per oracle. A fixed seed: a failure is found again.
const ROUNDS: u64 = 5_000;

const DIGITS: &[&str] = &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn the_seed_corpus_keeps_every_rule() {
    for (target, oracle) in oracle::ORACLES {
        let seeds = corpus(target);
        assert!(seeds.len() >= 4, "{target} has lost its seeds");
        seeds.iter().for_each(|seed| oracle(seed));
    }
}

#[test]
fn some_seeds_are_accepted_and_some_refused() {
    for target in ["config", "journal", "document"] {
        let seeds = corpus(target);
        let accepted = seeds.iter().filter(|seed| accepts(target, seed)).count();
        assert!((1..seeds.len()).contains(&accepted), "{target}: {accepted} of {}", seeds.len());
    }
}

fn accepts(target: &str, seed: &[u8]) -> bool {
    match (target, std::str::from_utf8(seed)) {
        ("config", Ok(text)) => hsmd::Config::parse(text, Path::new("seed")).is_ok(),
        ("journal", _) => hsmd::parsers::journal(seed).is_ok(),
        ("document", _) => hsmd::parsers::document(seed.to_vec().into()).is_ok(),
        _ => false,
    }
}

#[test]
fn random_mutations_keep_every_rule() {
    for (target, oracle) in oracle::ORACLES {
        let seeds = corpus(target);
        let mut random = Random::new(0x9e37_79b9_7f4a_7c15);
        for _ in 0..ROUNDS {
            let mut bytes = seeds[random.below(seeds.len())].clone();
            for _ in 0..=random.below(3) {
                let other = &seeds[random.below(seeds.len())];
                random.mutate(&mut bytes, other, DIGITS);
            }
            oracle(&bytes);
        }
    }
}
