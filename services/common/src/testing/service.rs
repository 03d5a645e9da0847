//! A service of ours as a process of its own.

use std::{
    fs::File,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::{Child, Command};

use super::{PATIENCE, sibling, until, write};

/// A running service. Dropping it kills it.
pub struct RunningService {
    /// Where it listens: `http://127.0.0.1:<port>`.
    pub url: String,
    process: Child,
    log: PathBuf,
}

impl RunningService {
    /// Starts `hsmd-<name>` with a configuration that listens on a free port, and waits until it does.
    /// Configuration and log go to `folder`.
    pub async fn start(name: &str, folder: &Path, config: &str) -> Self {
        let file =
            tempfile::Builder::new().prefix(name).suffix(".toml").tempfile_in(folder).unwrap();
        let (_, path) = file.keep().unwrap();
        write(&path, config);
        let log = path.with_extension("log");
        let mut command = Command::new(sibling(&format!("hsmd-{name}")));
        command.arg("--config").arg(&path).stdin(Stdio::null()).kill_on_drop(true);
        let process = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
        let mut service = Self { url: String::new(), process, log };
        until(&format!("{name} to listen"), async || {
            let log = service.log();
            let ended = service.process.try_wait().unwrap();
            assert!(ended.is_none(), "{name} ended: {ended:?}: {log}");
            let named = log.split_once("listening address=").and_then(|it| it.1.split_once('\n'));
            if let Some((address, _)) = named {
                service.url = format!("http://{address}");
            }
            named.is_some()
        })
        .await;
        service
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let pid = self.process.id().and_then(|pid| i32::try_from(pid).ok()).expect("it runs");
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    }

    /// Waits until it has ended by itself, and asserts that it ended well.
    pub async fn ended(&mut self) {
        let status = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        let status: ExitStatus = status.expect("it ends").unwrap();
        assert!(status.success(), "{status}, signal {:?}: {}", status.signal(), self.log());
    }
}
