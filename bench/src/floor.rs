//! The floor of Endorse as a child process (`src/bin/hsmd-bench-floor.rs`).

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hsmd_tests::{Hsmd, program};

/// The child; it is killed when this is dropped.
pub(crate) struct Process(Child, PathBuf);

impl Process {
    /// With a socket in the folder of an installation.
    pub(crate) async fn start(hsmd: &Hsmd) -> Self {
        let socket = hsmd.path("floor.sock");
        let mut command = Command::new(program("hsmd-bench-floor"));
        command.arg(&socket).stdin(Stdio::null());
        let process = Self(command.spawn().expect("the floor"), socket);
        while !process.1.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        process
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> &Path {
        &self.1
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
