//! The lists of files in ARCHITECTURE.md.

use std::path::Path;

use super::{code, root};

/// The files of a numbered list in ARCHITECTURE.md.
fn way(heading: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, section) = text.split_once(&format!("### {heading}\n")).unwrap();
    let section = section.split("\n#").next().unwrap_or_default();
    let numbered = |line: &&str| line.starts_with(|first: char| first.is_ascii_digit());
    let file = |line: &str| line.split('`').nth(1).unwrap().to_owned();
    section.lines().filter(numbered).map(file).collect()
}

/// Whether a file names another: its module within one crate, else its crate.
fn file_names(file: &str, other: &str) -> bool {
    let (home, _) = file.split_once("/src/").unwrap();
    let (other_home, other_file) = other.split_once("/src/").unwrap();
    let word = if home == other_home && !["lib.rs", "main.rs"].contains(&other_file) {
        Path::new(other_file).file_stem().unwrap().to_str().unwrap().to_owned()
    } else {
        let manifest = std::fs::read_to_string(root().join(other_home).join("Cargo.toml")).unwrap();
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = \"")).unwrap();
        name.trim_end_matches('"').replace('-', "_")
    };
    let text = code(&std::fs::read_to_string(root().join(file)).unwrap());
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

#[test]
fn the_ways_through_the_code_are_those_of_the_tree() {
    for (heading, most) in
        [("One Sign call", 14), ("One rotation", 15), ("One service's start", 14)]
    {
        let files = way(heading);
        assert!((5..=most).contains(&files.len()), "{heading}: {} files", files.len());
        for file in &files {
            assert!(root().join(file).is_file(), "{heading}: there is no {file}");
        }
        for file in &files[1..] {
            let named = files.iter().any(|other| other != file && file_names(other, file));
            assert!(named, "{heading}: no other file of it names {file}");
        }
    }
}
