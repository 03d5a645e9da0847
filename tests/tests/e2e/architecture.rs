//! The rules of ARCHITECTURE.md that no compiler checks, read off the sources and `cargo metadata`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

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
    let allowed =
        ["hsmd/src/grpc.rs", "hsmd/src/grpc/", "hsmd/src/authz/", "hsmd/src/daemon/health.rs"];
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
fn the_daemons_files_are_of_readable_length() {
    for (path, text) in sources("hsmd/src") {
        let lines = text.lines().count();
        assert!(
            lines <= 400,
            "{path} has {lines} lines: one subject a file, 400 lines at the most"
        );
    }
}

/// The packages of this workspace that a package depends on, tests aside.
fn dependencies(metadata: &Value, package: &str) -> BTreeSet<String> {
    let packages = metadata["packages"].as_array().unwrap();
    let found = packages.iter().find(|found| found["name"] == package);
    let dependencies =
        found.unwrap_or_else(|| panic!("no package {package}"))["dependencies"].clone();
    let normal = |dependency: &&Value| dependency["kind"].is_null();
    let name = |dependency: &Value| dependency["name"].as_str().unwrap().to_owned();
    dependencies.as_array().unwrap().iter().filter(normal).map(name).collect()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn crates_depend_in_one_direction() {
    let metadata = metadata();
    let of_ours = |package| {
        let mut ours = dependencies(&metadata, package);
        ours.retain(|name| name.starts_with("hsmd"));
        ours.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(of_ours("hsmd-support"), [""; 0]);
    assert_eq!(of_ours("hsmd-runtime"), ["hsmd-support"]);
    assert_eq!(of_ours("hsmd-chain"), [""; 0]);
    assert_eq!(of_ours("hsmd-proto"), [""; 0]);
    assert_eq!(of_ours("hsmd-initialize"), [""; 0]);
    let of_the_daemon =
        ["hsmd-chain", "hsmd-initialize", "hsmd-proto", "hsmd-runtime", "hsmd-support"];
    assert_eq!(of_ours("hsmd"), of_the_daemon);
    assert_eq!(of_ours("hsmd-client"), ["hsmd-chain", "hsmd-proto", "hsmd-support"]);
    for package in metadata["packages"].as_array().unwrap() {
        let package = package["name"].as_str().unwrap();
        assert!(!of_ours(package).contains(&"hsmd".to_owned()), "{package} depends on the daemon");
        let is_for_us = ["hsmd-tests", "hsmd-bench"].contains(&package);
        let softhsm = of_ours(package).contains(&"hsmd-softhsm".to_owned());
        let harness = of_ours(package).contains(&"hsmd-tests".to_owned());
        assert!(is_for_us || !(softhsm || harness), "{package} ships what is for tests");
    }
}

/// Whoever uses the client builds it: what only servers and command lines need stays out of it.
#[test]
fn the_client_is_light() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "-p", "hsmd-client", "-e", "normal"])
        .args(["--prefix", "none", "--format", "{p}"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let crates: BTreeSet<_> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(crates.contains("hsmd-chain") && crates.contains("tonic"), "{crates:?}");
    for heavy in ["axum", "clap", "tracing-subscriber", "prometheus-client"] {
        assert!(!crates.contains(heavy), "hsmd-client depends on {heavy}");
    }
}

#[test]
fn each_outside_world_has_one_crate_that_knows_it() {
    let metadata = metadata();
    let who = |dependency: &str| {
        let packages = metadata["packages"].as_array().unwrap().iter();
        let names = packages.map(|package| package["name"].as_str().unwrap().to_owned());
        names
            .filter(|name| dependencies(&metadata, name).contains(dependency))
            .collect::<BTreeSet<_>>()
    };
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    // The benchmark measures the raw session beside the daemon.
    assert_eq!(who("cryptoki"), set(&["hsmd", "hsmd-bench", "hsmd-initialize", "hsmd-softhsm"]));
    assert_eq!(who("redis"), set(&["hsmd-store", "hsmd-tests"]));
    let known = set(&["hsmd", "hsmd-accounts", "hsmd-auth", "hsmd-tests"]);
    assert!(who("sqlx").is_subset(&known), "{:?}", who("sqlx"));
    let chain = dependencies(&metadata, "hsmd-chain");
    for world in ["tokio", "tonic", "hyper", "reqwest", "sqlx", "redis"] {
        assert!(!chain.contains(world), "hsmd-chain depends on {world}");
    }
}

#[test]
fn modules_are_files_beside_their_folder() {
    for folder in [
        "chain", "client", "hsmctl", "hsmd", "proto", "runtime", "services", "softhsm", "support",
        "tests",
    ] {
        for (path, _) in sources(folder) {
            assert!(!path.ends_with("/mod.rs"), "{path}: foo.rs and foo/, never mod.rs");
        }
    }
}

/// The parts of hsmd/src/grpc, from the leaves upwards: each imports only from those before it.
const GRPC_PARTS: [&str; 6] = ["budget", "status", "convert", "transport", "layers", "services"];

/// What a file below hsmd/src/grpc imports from there, as the path of a module: `layers::context`.
fn grpc_imports(path: &str, text: &str) -> BTreeSet<String> {
    let code = code(text.split("#[cfg(test)]").next().unwrap());
    let own = path.strip_prefix("hsmd/src/grpc/").unwrap().trim_end_matches(".rs");
    let mut found = BTreeSet::new();
    for (prefix, parent) in [("crate::grpc::", ""), (" super::", own)] {
        for (at, _) in code.match_indices(prefix) {
            let rest = code[at + prefix.len()..]
                .split(|c: char| !c.is_alphanumeric() && !"_:".contains(c));
            let parent = parent.rsplit_once('/').map_or("", |(parent, _)| parent);
            let parts = parent.split('/').chain(rest.take(1).flat_map(|rest| rest.split("::")));
            let parts: Vec<_> = parts.filter(|part| !part.is_empty()).take(2).collect();
            found.insert(parts.join("/"));
        }
    }
    found
}

#[test]
fn imports_of_grpc_point_downwards_and_make_no_circle() {
    let mut files: Vec<(String, BTreeSet<String>)> = Vec::new();
    for (path, text) in sources("hsmd/src/grpc") {
        let name = path.strip_prefix("hsmd/src/grpc/").unwrap().trim_end_matches(".rs").to_owned();
        let part = name.split('/').next().unwrap();
        let rank = |part: &str| GRPC_PARTS.iter().position(|known| *known == part);
        let own = rank(part).unwrap_or_else(|| panic!("{path} belongs to no known part of grpc"));
        let imports = grpc_imports(&path, &text);
        for import in &imports {
            let other = rank(import.split('/').next().unwrap());
            assert!(other.is_some_and(|other| other <= own), "{path} imports {import}");
        }
        files.push((name, imports));
    }
    assert!(files.iter().any(|(name, imports)| {
        name == "layers/reply"
            && imports.contains("layers/context")
            && imports.contains("status/not_signed")
    }));
    // Files whose imports are all known go; what is left imports in a circle.
    loop {
        let names: BTreeSet<_> = files.iter().map(|(name, _)| name.clone()).collect();
        let before = files.len();
        let is_left = |import: &String, name: &String| {
            names.iter().any(|n| n != name && (import == n || import.starts_with(&format!("{n}/"))))
        };
        files.retain(|(name, imports)| imports.iter().any(|import| is_left(import, name)));
        if files.len() == before {
            break;
        }
    }
    assert!(files.is_empty(), "a circle of imports: {files:?}");
}

#[test]
fn one_place_judges_a_call_and_one_records_it() {
    for (path, text) in sources("hsmd/src/grpc") {
        let code = code(&text);
        let judges = ["layers/context.rs", "layers/authorization.rs"];
        let judges = judges.map(|file| format!("hsmd/src/grpc/{file}")).contains(&path);
        assert!(judges || !code.contains("policy.load()"), "{path} asks the policy");
        let records = path == "hsmd/src/grpc/layers/reply.rs";
        for recorder in ["audit.write", "metrics.request"] {
            assert!(records || !code.contains(recorder), "{path} names {recorder}");
        }
    }
}

#[test]
fn no_source_uses_the_names_that_the_glossary_replaced() {
    let replaced = [
        "Purse",
        "Lane",
        "Lanes",
        "Pulse",
        "Visit",
        "LeavesAs",
        "Gate",
        "GateLayer",
        "Taken",
        "Incarnation",
        "outwait",
        "settle",
        "align",
        "Halt",
        "Wish",
        "OpenGate",
        "unsettled",
        "look_after",
    ];
    let folders = [
        "bench", "chain", "client", "hsmctl", "hsmd", "proto", "runtime", "services", "softhsm",
        "support", "tests",
    ];
    for (path, text) in folders.into_iter().flat_map(sources) {
        if path == file!() || path.ends_with("tests/architecture.rs") {
            continue;
        }
        for word in text.split(|c: char| !c.is_alphanumeric() && c != '_') {
            let bad = replaced.contains(&word) || word.starts_with("Door");
            assert!(!bad, "{path} says {word}: see the glossary in ARCHITECTURE.md");
        }
    }
}

/// Words that another field uses in another sense, or that leave out who is meant.
#[test]
fn the_shipped_sources_use_plain_words() {
    let refused = [
        "nobody", "whoever", "gate", "halt", "halted", "wish", "purse", "patience", "silence",
        "breath", "awake",
    ];
    // PKCS#11 has slots, and nothing else here.
    let of_pkcs11 = ["hsmd/src/token", "softhsm/", "bench/src/raw.rs"];
    for folder in [
        "bench", "chain", "client", "hsmctl", "hsmd", "proto", "runtime", "services", "softhsm",
        "support",
    ] {
        for (path, text) in sources(folder) {
            if path.contains("/tests/") {
                continue;
            }
            for word in text.split(|c: char| !c.is_alphabetic()).map(str::to_lowercase) {
                assert!(!refused.contains(&word.as_str()), "{path} says {word}");
                let elsewhere =
                    word == "slot" && !of_pkcs11.iter().any(|own| path.starts_with(own));
                assert!(!elsewhere, "{path} says {word}, which is PKCS#11's");
            }
        }
    }
}

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
