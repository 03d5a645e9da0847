//! A private hsmd for tests of services: its token, its Postgres, its key log. Everything ends with it.
//!
//! It runs the workspace's own binaries, which have to be built beside the test: SoftHSM, Postgres 15 in
//! Debian's place, Unix sockets only.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that can't be set up should fail loudly"
)]

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::process::{Child, Command};

const POSTGRES: &str = "/usr/lib/postgresql/15/bin";

/// A running hsmd and what it stands on. Callers with our uid may have keys endorsed for `access`,
/// `response` and `other`, for 24 h at the most, read the log, rotate and taint.
pub struct RunningHsm {
    /// The identity of its key log.
    pub identity: String,
    folder: TempDir,
    daemon: Option<Child>,
}

impl RunningHsm {
    /// Provisions a token, makes the database, begins a key log and serves it.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Postgres does not run as root, so its user has to get at its folder in here.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let mut hsm = Self { identity: String::new(), folder, daemon: None };
        hsm.start_postgres().await;
        hsm.configure();
        let (token, pin) = (hsm.path("token"), hsm.path("pin"));
        let mut provision = Command::new(sibling("hsmd-softhsm"));
        provision.args(["provision", "--label", "service-tests", "--dir"]).arg(token);
        run(provision.arg("--pin-file").arg(pin)).await;
        run(hsm.command().arg("migrate")).await;
        hsm.identity = run(hsm.command().arg("init")).await;
        hsm.serve().await;
        hsm
    }

    /// Starts the daemon and waits until it signs.
    pub async fn serve(&mut self) {
        let log = fs::File::create(self.path("hsmd.log")).unwrap();
        let mut command = self.command();
        self.daemon = Some(command.arg("serve").stderr(log).kill_on_drop(true).spawn().unwrap());
        until("hsmd", async || {
            let mut status = self.control();
            status.arg("status").stdout(Stdio::null()).stderr(Stdio::null());
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
        run(self.control().args([change, "--reason", "a test"])).await;
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

    fn configure(&self) {
        let folder = self.folder.path().display().to_string();
        let url = |user: &str| format!("postgresql://{user}@/hsmd?host={folder}/postgres");
        write(&self.path("owner.url"), &url("hsmd_owner"));
        write(&self.path("writer.url"), &url("hsmd_writer"));
        write(&self.path("pin"), "73914628");
        fs::create_dir(self.path("state")).unwrap();
        let uid = fs::metadata(self.folder.path()).unwrap().uid();
        let config = format!(
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
        );
        write(&self.path("hsmd.toml"), &config);
    }

    async fn start_postgres(&self) {
        let data = self.path("postgres");
        fs::create_dir(&data).unwrap();
        if self.is_root() {
            run(Command::new("chown").arg("postgres:").arg(&data)).await;
        }
        run(self.postgres("initdb").arg("-D").arg(&data).args(["--auth=trust", "--locale=C"]))
            .await;
        let options = format!(
            "-c listen_addresses='' -c unix_socket_directories='{}' -c fsync=off",
            data.display()
        );
        // Its output would keep a pipe of ours open.
        let mut start = self.postgres("pg_ctl");
        start.arg("-D").arg(&data).args(["-w", "-s", "-o", &options, "-l"]).arg(data.join("log"));
        assert!(start.arg("start").status().await.unwrap().success(), "Postgres does not start");
        for statement in [
            "CREATE ROLE hsmd_owner LOGIN",
            "CREATE ROLE hsmd_writer LOGIN",
            "CREATE DATABASE hsmd OWNER hsmd_owner",
        ] {
            run(self.postgres("psql").arg("-h").arg(&data).args(["-Xqc", statement, "postgres"]))
                .await;
        }
    }

    /// One of Postgres' tools, as its user where we are root.
    fn postgres(&self, tool: &str) -> Command {
        let tool = format!("{POSTGRES}/{tool}");
        let mut command = if self.is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", &tool]);
            command
        } else {
            Command::new(tool)
        };
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    fn is_root(&self) -> bool {
        fs::metadata(self.folder.path()).unwrap().uid() == 0
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for RunningHsm {
    fn drop(&mut self) {
        let mut stop = self.postgres("pg_ctl");
        stop.arg("-D").arg(self.path("postgres")).args(["-s", "-m", "immediate", "stop"]);
        // Nobody is left to hear of a failure; the folder goes in any case.
        drop(stop.as_std_mut().output());
    }
}

/// One of the workspace's commands, built beside the test: `target/<profile>/name`.
pub fn sibling(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>");
    let path = folder.join(name);
    assert!(path.exists(), "{name} is not built: cargo build --workspace --bins");
    path
}

/// Waits until a condition of another process holds.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(40);
    while !condition().await {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs a command to its end, which must be good, and returns what it printed.
async fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().await.expect("the command starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Secrets among them: nobody else may read these files.
fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
