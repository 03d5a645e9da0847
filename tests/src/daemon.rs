//! A running `hsmd serve`.

use std::ops::Deref;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::command::assert_killed;
use crate::{Rpc, until};

/// A process that serves, and the clients to call it. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    pid: Pid,
    log: PathBuf,
    rpc: Rpc,
    follower: JoinHandle<()>,
}

impl Daemon {
    pub(crate) fn spawn(mut command: Command, log: PathBuf, rpc: Rpc) -> Self {
        let file = std::fs::File::options().create(true).append(true).open(&log);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file.expect("the daemon's log file"))
            .kill_on_drop(true)
            .spawn()
            .expect("a process of hsmd");
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).expect("its process id");
        let follower = tokio::spawn(rpc.clone().follow());
        Self { child, pid: Pid::from_raw(pid), log, rpc, follower }
    }

    /// Waits until it is ready to sign; fails the test when it ends instead.
    pub async fn ready(&mut self) {
        until(&format!("the daemon is ready: {}", self.log_text()), async || {
            if let Some(status) = self.child.try_wait().expect("the daemon's state") {
                panic!("the daemon ended with {status}: {}", self.log_text());
            }
            self.rpc.is_serving("").await.then_some(())
        })
        .await;
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid, signal).expect("a process to signal");
    }

    /// Stops it with SIGSTOP, and waits until none of its threads runs.
    pub async fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
        until("every thread has stopped", async || {
            let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid));
            threads.expect("a process").all(|thread| {
                let stat = std::fs::read_to_string(thread.expect("a thread").path().join("stat"));
                // The state comes after the name, which is in parentheses.
                stat.is_ok_and(|stat| {
                    stat.rsplit_once(") ").is_some_and(|it| it.1.starts_with('T'))
                })
            })
        })
        .await;
    }

    /// Kills it with SIGKILL, and waits until it is gone.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("a process to kill");
    }

    /// Asks it to stop with SIGTERM, and asserts that it ends well.
    pub async fn stop(self) {
        self.signal(Signal::SIGTERM);
        let (status, log) = self.ended().await;
        assert!(status.success(), "stopped with {status}: {log}");
    }

    /// Waits for its end: how, and its log.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let status = tokio::time::timeout(crate::TEST_TIMEOUT, self.child.wait()).await;
        let log = self.log_text();
        let status = status.unwrap_or_else(|_| panic!("the daemon does not end: {log}"));
        (status.expect("the daemon's end"), log)
    }

    /// Waits until it has died by SIGKILL, as at an armed failpoint.
    pub async fn died(self) {
        let (status, log) = self.ended().await;
        assert_killed(status, &log);
    }

    /// Waits until it has refused to serve, with these words and the exit code 1, or 65 for what stays.
    pub async fn refused(self, with: &str) {
        let (status, log) = self.ended().await;
        assert!(matches!(status.code(), Some(1 | 65)), "{status}: {log}");
        last_line(&log, with);
    }

    /// Waits until it has refused to serve, with these words, and has told the supervisor by its exit code
    /// whether another start may do better.
    pub async fn refused_until_a_person_acts(self, with: &str) {
        let (status, log) = self.ended().await;
        assert_eq!(status.code(), Some(65), "{log}");
        last_line(&log, with);
    }

    /// Whether the process lives.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("the daemon's state").is_none()
    }

    /// The memory that it holds, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid));
        let status = status.expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse().ok()).expect("VmRSS in kB")
    }

    /// How many file descriptors it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid)).expect("a running process").count()
    }

    /// What it has logged, earlier daemons of the same configuration included.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Deref for Daemon {
    type Target = Rpc;

    fn deref(&self) -> &Rpc {
        &self.rpc
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.follower.abort();
        if std::thread::panicking() {
            eprintln!("---- the daemon's log ----\n{}", self.log_text());
        }
    }
}

#[track_caller]
fn last_line(log: &str, with: &str) {
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains(with), "{with:?} is not in: {last}");
}
