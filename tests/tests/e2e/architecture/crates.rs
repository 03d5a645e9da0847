//! Which crate depends on which, by `cargo metadata`.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use super::root;

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

/// Every user of the client builds it: what only servers and command lines need stays out of it.
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
    let known = set(&["hsmd", "hsmd-accounts", "hsmd-auth", "hsmd-service", "hsmd-tests"]);
    assert!(who("sqlx").is_subset(&known), "{:?}", who("sqlx"));
    let chain = dependencies(&metadata, "hsmd-chain");
    for world in ["tokio", "tonic", "hyper", "reqwest", "sqlx", "redis"] {
        assert!(!chain.contains(world), "hsmd-chain depends on {world}");
    }
}
