//! Programs of this workspace as child processes.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use nix::libc::SIGKILL;
use tokio::process::Command;

use crate::TEST_TIMEOUT;

/// The path of a program that was built beside this test.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of this program");
    let mut folder = test.parent().expect("the folder of this program");
    if folder.ends_with("deps") {
        folder = folder.parent().expect("target/debug above target/debug/deps");
    }
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is not built: cargo build --workspace --all-targets --features hsmd/failpoints",
        path.display()
    );
    path
}

/// How a command ended and what it said.
#[derive(Clone, Debug)]
pub struct Output {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// How it ended.
    pub status: ExitStatus,
}

impl Output {
    /// Runs a command to its end.
    pub async fn of(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(TEST_TIMEOUT, command.output()).await;
        let output = output.expect("a command that ends").expect("a command that can be run");
        Self {
            stdout: String::from_utf8(output.stdout).expect("UTF-8 on standard output"),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            status: output.status,
        }
    }

    /// What it printed, if it succeeded; fails the test otherwise.
    #[track_caller]
    pub fn good(self) -> String {
        assert!(self.status.success(), "{}: {}{}", self.status, self.stdout, self.stderr);
        self.stdout
    }

    /// Asserts the exit code 1 and that what it said contains a text.
    #[track_caller]
    pub fn refused(self, with: &str) {
        self.ended(1, with);
    }

    /// Asserts an exit code and that what it said contains a text.
    #[track_caller]
    pub fn ended(self, code: i32, with: &str) {
        let said = format!("{}{}", self.stdout, self.stderr);
        assert_eq!(self.status.code(), Some(code), "{}: {said}", self.status);
        assert!(said.contains(with), "{with:?} is not in: {said}");
    }

    /// Asserts that it died by SIGKILL, as at an armed failpoint.
    #[track_caller]
    pub fn killed(self) {
        assert_killed(self.status, &self.stderr);
    }
}

/// Asserts that a process died by SIGKILL.
#[track_caller]
pub(crate) fn assert_killed(status: ExitStatus, said: &str) {
    assert_eq!(
        status.signal(),
        Some(SIGKILL),
        "{status} instead of a death at the failpoint; is hsmd built with --features \
         hsmd/failpoints? {said}"
    );
}

/// A command of this workspace with words before it and arguments, to be run or spawned.
pub(crate) fn command<S: AsRef<OsStr>>(
    before: &[OsString],
    name: &str,
    arguments: impl IntoIterator<Item = S>,
) -> Command {
    let program = program(name);
    let mut words = before.iter().map(OsString::as_os_str).chain([program.as_os_str()]);
    let mut command = Command::new(words.next().expect("the program at least"));
    command.args(words).args(arguments);
    command
}
