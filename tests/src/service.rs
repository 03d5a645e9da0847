//! A service of ours as a process of its own.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;

use crate::command::command;
use crate::{Output, OwnNetwork, soon, until, write_private};

/// A running service. Dropping it kills it.
#[derive(Debug)]
pub struct RunningService {
    /// Where it listens: `http://127.0.0.1:<port>`; empty if that is a Unix socket.
    pub url: String,
    process: Child,
    log: PathBuf,
}

impl RunningService {
    /// Starts `hsmd-<name>` with a configuration that listens on a free port, and waits until it does.
    /// Configuration and log go to `folder`.
    pub async fn start(name: &str, folder: &Path, config: &str) -> Self {
        Self::start_after(&[], name, folder, config).await
    }

    /// The same in a network of its own.
    pub async fn start_within(
        network: &OwnNetwork,
        name: &str,
        folder: &Path,
        config: &str,
    ) -> Self {
        Self::start_after(&network.enter(), name, folder, config).await
    }

    async fn start_after(before: &[OsString], name: &str, folder: &Path, config: &str) -> Self {
        let file = tempfile::Builder::new().prefix(name).suffix(".toml").tempfile_in(folder);
        let (_, path) = file.and_then(|file| Ok(file.keep()?)).expect("a configuration file");
        write_private(&path, config);
        let log = path.with_extension("log");
        let arguments = ["--config".as_ref(), path.as_os_str()];
        let mut command = command(before, &format!("hsmd-{name}"), arguments);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command.stderr(File::create(&log).expect("the service's log file"));
        let process = command.spawn().expect("a process of the service");
        let mut service = Self { url: String::new(), process, log };
        until(&format!("{name} listens"), async || {
            let log = service.log();
            let ended = service.process.try_wait().expect("the service's state");
            assert!(ended.is_none(), "{name} ended: {ended:?}: {log}");
            let named = log.split_once("listening address=").and_then(|it| it.1.split_once('\n'));
            if let Some((address, _)) = named {
                service.url = format!("http://{address}");
            }
            named.is_some() || log.contains("listening path=")
        })
        .await;
        service
    }

    /// Runs `hsmd-<name> check` with a configuration to its end.
    pub async fn check(name: &str, folder: &Path, config: &str) -> Output {
        let path = folder.join(format!("{name}-check.toml"));
        write_private(&path, config);
        let arguments = ["check".as_ref(), "--config".as_ref(), path.as_os_str()];
        Output::of(&mut command(&[], &format!("hsmd-{name}"), arguments)).await
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the service's log file")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id().expect("it runs")
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let pid = i32::try_from(self.pid()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("a process to signal");
    }

    /// Waits until it has ended by itself, and asserts that it ended well.
    pub async fn ended(&mut self) {
        let status: ExitStatus = soon(self.process.wait()).await.expect("the service's end");
        assert!(status.success(), "{status}, signal {:?}: {}", status.signal(), self.log());
    }
}
