//! The rules of ARCHITECTURE.md that no compiler checks, read off the sources and `cargo metadata`.

mod crates;
mod grpc;
mod ways;
mod words;

use std::path::{Path, PathBuf};

/// The folders with sources.
const FOLDERS: [&str; 11] = [
    "bench", "chain", "client", "hsmctl", "hsmd", "proto", "runtime", "services", "softhsm",
    "support", "tests",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Every Rust source below a folder of the repository, as its path from there and its text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(&root(), &root().join(folder), &mut found);
    assert!(!found.is_empty(), "{folder} has no sources");
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            found.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The source without comments: prose may name what code may not.
fn code(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Whether code names a crate: its path, or an import of it.
fn names(text: &str, krate: &str) -> bool {
    let code = code(text);
    code.match_indices(krate).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + krate.len()..].chars().next();
        let is_word =
            |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-');
        !is_word(before) && after != Some('-') && code[at + krate.len()..].starts_with("::")
    })
}

fn assert_only(krate: &str, folder: &str, allowed: &[&str]) {
    let mut used = false;
    for (path, text) in sources(folder) {
        if names(&text, krate) {
            used = true;
            assert!(
                allowed.iter().any(|component| path.starts_with(component)),
                "{path} names {krate}"
            );
        }
    }
    assert!(
        used,
        "nothing below {folder} names {krate}: is this test still looking at the right thing?"
    );
}

#[test]
fn only_token_names_cryptoki() {
    assert_only("cryptoki", "hsmd/src", &["hsmd/src/token/"]);
}

#[test]
fn only_keylog_names_sqlx() {
    assert_only("sqlx", "hsmd/src", &["hsmd/src/keylog/", "hsmd/src/keylog.rs"]);
}

#[test]
fn only_grpc_names_tonic() {
    let allowed = ["hsmd/src/grpc.rs", "hsmd/src/grpc/", "hsmd/src/daemon/health.rs"];
    assert_only("tonic", "hsmd/src", &allowed);
    assert_only("tonic_types", "hsmd/src", &["hsmd/src/grpc/"]);
    assert_only("hsmd_proto", "hsmd/src", &["hsmd/src/grpc.rs", "hsmd/src/grpc/"]);
}

#[test]
fn only_the_clock_and_the_composition_root_ask_for_the_time() {
    let allowed = ["hsmd/src/clock.rs"];
    for (path, text) in sources("hsmd/src") {
        let asks = code(&text).contains("SystemTime::now");
        assert!(!asks || allowed.contains(&path.as_str()), "{path} reads the clock");
    }
}

/// Invariant 7 of ARCHITECTURE.md names them.
#[test]
fn statics_of_the_daemon_hold_no_state_of_a_token() {
    let mut found = Vec::new();
    for (path, text) in ["chain", "hsmd", "runtime", "support"]
        .map(|krate| format!("{krate}/src"))
        .iter()
        .flat_map(|it| sources(it))
    {
        let code = code(&text);
        let statics = code.lines().map(|line| line.trim_start().trim_start_matches("pub "));
        let names = statics.filter_map(|line| line.strip_prefix("static ")?.split(':').next());
        found.extend(names.map(|name| format!("{path} {name}")));
    }
    found.sort();
    let named = [
        "hsmd/src/grpc/layers/context.rs NEXT",
        "hsmd/src/keylog/migrate.rs MIGRATIONS",
        "hsmd/src/main.rs ALLOCATOR",
        "runtime/src/log_queue.rs PROCESS",
        "runtime/src/relay.rs NEXT",
    ];
    assert_eq!(found, named);
}

#[test]
fn chain_is_pure() {
    for (path, text) in sources("chain/src") {
        let code = code(&text);
        for word in [
            "async ",
            ".await",
            "std::fs",
            "std::net",
            "std::env",
            "std::io",
            "tokio",
            "SystemTime::now",
        ] {
            assert!(!code.contains(word), "{path} has {word}");
        }
    }
}

#[test]
fn files_are_of_readable_length() {
    for (path, text) in FOLDERS.into_iter().flat_map(sources) {
        let lines = text.lines().count();
        assert!(
            lines <= 400,
            "{path} has {lines} lines: one subject a file, 400 lines at the most"
        );
    }
}

#[test]
fn modules_are_files_beside_their_folder() {
    for (path, _) in FOLDERS.into_iter().flat_map(sources) {
        assert!(!path.ends_with("/mod.rs"), "{path}: foo.rs and foo/, never mod.rs");
    }
}
