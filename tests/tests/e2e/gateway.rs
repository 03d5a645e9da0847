//! hsmd-gateway: a service that has nothing but curl, and those who are not that service.

mod curl;
mod untrusted;
mod users;
mod without_grpc;

use std::path::PathBuf;

use hsmd_tests::{Daemon, Hsmd};
use tempfile::TempDir;

/// An hsmd that serves, and a folder for its gateway. The daemon ends first.
struct Behind {
    daemon: Daemon,
    _hsmd: Hsmd,
    folder: TempDir,
    hsm: String,
}

impl Behind {
    /// Callers may have keys endorsed for `access`, for twelve hours at the most.
    async fn start() -> Self {
        let hsmd = Hsmd::initialised().await.set("caller.0.max_ttl", "12h");
        let daemon = hsmd.serve().await;
        let identity = daemon.log().await.identity();
        let endpoint = hsmd.path("service.sock");
        let hsm = format!(
            "[hsm]\nidentity = \"{identity}\"\nendpoint = \"unix://{}\"\nmax_staleness = \"15s\"\n",
            endpoint.display()
        );
        Self { daemon, _hsmd: hsmd, folder: tempfile::tempdir().unwrap(), hsm }
    }

    /// A configuration of the gateway.
    fn config(&self, listen: &str) -> String {
        format!("[listen]\n{listen}\n{}", self.hsm)
    }

    /// One that listens on a free port, for everything in its network.
    fn loopback(&self) -> String {
        self.config("address = \"127.0.0.1:0\"\nallow_loopback_tcp = true")
    }

    /// Where the gateway's socket is.
    fn socket(&self) -> PathBuf {
        self.folder.path().join("gateway.sock")
    }

    /// A configuration that listens there for these users.
    fn for_users(&self, uids: &[u32]) -> String {
        self.config(&format!("path = \"{}\"\nuids = {uids:?}", self.socket().display()))
    }
}
