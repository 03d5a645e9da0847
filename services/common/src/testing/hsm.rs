//! A private hsmd: its token, its database, its key log.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use hsmd_chain::PublicKey;
use hsmd_client::{Client, ConnectOptions};
use tempfile::TempDir;
use tokio::process::Child;

use super::{Postgres, blocking, run, sibling, until, write};

/// A running hsmd and what it stands on. Callers with our uid may have keys endorsed for `access`,
/// `response` and `other`, for 24 h at the most, read the log, rotate and taint.
pub struct RunningHsm {
    /// The identity of its key log.
    pub identity: String,
    daemon: Option<Child>,
    /// Where its key log is; there is room for the databases of others.
    pub postgres: Postgres,
    folder: TempDir,
}

impl RunningHsm {
    /// Provisions a token, makes the database, begins a key log and serves it.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (token, pin) = (folder.path().join("token"), folder.path().join("pin"));
        write(&pin, "73914628");
        let mut provision = Command::new(sibling("hsmd-softhsm"));
        provision.args(["provision", "--label", "service-tests", "--dir"]).arg(token);
        provision.arg("--pin-file").arg(pin);
        let (postgres, _) =
            tokio::join!(blocking(Postgres::start), blocking(move || run(&mut provision)));
        let hsm = Self { identity: String::new(), daemon: None, postgres, folder };
        let mut hsm = blocking(move || hsm.initialised()).await;
        hsm.serve().await;
        hsm
    }

    fn initialised(mut self) -> Self {
        write(&self.path("owner.url"), &self.postgres.database("hsmd"));
        self.postgres.sql("postgres", "CREATE ROLE hsmd_writer LOGIN");
        write(&self.path("writer.url"), &self.postgres.url("hsmd_writer", "hsmd"));
        fs::create_dir(self.path("state")).unwrap();
        write(&self.path("hsmd.toml"), &self.configuration());
        run(self.command().arg("migrate"));
        self.identity = run(self.command().arg("init"));
        self
    }

    /// Starts the daemon and waits until it signs.
    pub async fn serve(&mut self) {
        let log = fs::File::create(self.path("hsmd.log")).unwrap();
        let mut command = tokio::process::Command::from(self.command());
        self.daemon = Some(command.arg("serve").stderr(log).kill_on_drop(true).spawn().unwrap());
        until("hsmd", async || {
            let mut status = tokio::process::Command::from(self.control());
            status.arg("status").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            status.status().await.unwrap().success()
        })
        .await;
    }

    /// Kills the daemon.
    pub async fn kill(&mut self) {
        self.daemon.take().unwrap().kill().await.unwrap();
    }

    /// Rotates, or taints: `change` is hsmctl's word for it.
    pub async fn change(&self, change: &str) {
        let mut control = self.control();
        control.args([change, "--reason", "a test"]);
        blocking(move || run(&mut control)).await;
    }

    /// An endorsement of a key, as published.
    pub async fn endorse(&self, purpose: &str, key: &PublicKey, ttl: Duration) -> String {
        let client = Client::connect(&ConnectOptions::new(self.endpoint("service"))).unwrap();
        let signed = client.endorse(purpose, key, ttl).await.unwrap();
        format!(r#"{{"body":{},"signature":"{}"}}"#, signed.body, signed.signature)
    }

    /// Where a listener is: `service` or `admin`.
    pub fn endpoint(&self, listener: &str) -> String {
        format!("unix://{}", self.path(&format!("{listener}.sock")).display())
    }

    fn control(&self) -> Command {
        let mut command = Command::new(sibling("hsmctl"));
        command.args(["--endpoint", &self.endpoint("service")]);
        command.args(["--admin-endpoint", &self.endpoint("admin")]);
        if !self.identity.is_empty() {
            command.args(["--identity", &self.identity]);
        }
        command
    }

    fn command(&self) -> Command {
        let mut command = Command::new(sibling("hsmd"));
        command.env("SOFTHSM2_CONF", self.path("token").join("softhsm2.conf"));
        command.arg("--config").arg(self.path("hsmd.toml"));
        command
    }

    fn configuration(&self) -> String {
        let folder = self.folder.path().display();
        let uid = fs::metadata(self.folder.path()).unwrap().uid();
        format!(
            r#"state_dir = "{folder}/state"
[database]
writer_url_file = "{folder}/writer.url"
owner_url_file = "{folder}/owner.url"
[[token]]
module = "/usr/lib/softhsm/libsofthsm2.so"
label = "service-tests"
pin_file = "{folder}/pin"
[purposes]
endorse = ["access", "response", "other"]
[listen.service]
path = "{folder}/service.sock"
mode = "0600"
[listen.admin]
path = "{folder}/admin.sock"
mode = "0600"
[[caller]]
name = "services"
uid = {uid}
endorse = ["access", "response", "other"]
max_ttl = "24h"
read_log = true
[[admin]]
name = "tests"
uid = {uid}
allow = ["status", "rotate", "taint"]
"#
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
