//! The built `hsmctl` as a user runs it: offline on files, and against a peer that signs with
//! software keys over a real Unix socket. The system tests run it against the daemon.
#![expect(clippy::expect_used, reason = "a test that can't be set up should fail loudly")]

mod offline;
mod online;

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// `hsmctl` without anything that the user's environment would set.
fn hsmctl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hsmctl"));
    let set = std::env::vars_os().map(|(name, _)| name);
    for name in set.filter(|name| name.to_string_lossy().starts_with("HSMD_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// A finished command.
struct Done {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("an exit code"),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

impl Done {
    /// Nothing is said on standard error by a success, and something by every other end but one
    /// whose report is on standard output.
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        if code == 0 {
            assert_eq!(self.err, "");
        } else {
            assert!(!(self.out.is_empty() && self.err.is_empty()));
        }
        self
    }
}

fn run(arguments: &[&str]) -> Done {
    hsmctl().args(arguments).output().expect("runs").into()
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}
