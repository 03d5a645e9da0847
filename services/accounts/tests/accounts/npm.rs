//! The library's own client, in the newest version and in 1.2.8, under Node.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::stack::{PAGE, Settings, Stack};

/// Installs the packages of `tests/npm` into `target/npm-accounts`, unless they are there.
fn installed() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/npm");
    let test = std::env::current_exe().expect("a path");
    let target = test.ancestors().nth(3).expect("target/<profile>/deps/<test>");
    let folder = target.join("npm-accounts");
    std::fs::create_dir_all(&folder).expect("made");
    let lock = std::fs::read(source.join("package-lock.json")).expect("read");
    let done = folder.join("installed.lock");
    if std::fs::read(&done).is_ok_and(|installed| installed == lock) {
        return folder;
    }
    for name in ["package.json", "package-lock.json"] {
        std::fs::copy(source.join(name), folder.join(name)).expect("copied");
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--omit=dev", "--no-audit", "--no-fund", "--prefix"]).arg(&folder);
    ended_well(npm.output().expect("npm starts"));
    std::fs::write(done, lock).expect("written");
    folder
}

fn ended_well(output: Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}\n{errors}", output.status);
    text
}

#[test]
fn the_unchanged_client_works_in_both_versions() {
    let stack = Stack::start();
    let folder = installed();
    let script = folder.join("client.mjs");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/npm/client.mjs");
    std::fs::copy(source, &script).expect("copied");
    // Tokens name the address that clients come by, so it is chosen before.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let site = format!("public_url = \"{base}\"\ntrusted_origins = [\"{PAGE}\"]\n");
    let outbox = stack.path("outbox.jsonl");
    let more = format!("[mail]\noutbox = \"{}\"\n", outbox.display());
    let settings =
        Settings { site, more, listen: base["http://".len()..].to_owned(), ..Settings::default() };
    let _accounts = stack.accounts_with(&settings).ready();
    for version in ["new", "old"] {
        let mut node = Command::new("node");
        node.arg(&script).args([version, &base, PAGE]).current_dir(&folder);
        let text = ended_well(node.output().expect("node starts"));
        assert_eq!(text, format!("passed {version}\n"));
    }
}
