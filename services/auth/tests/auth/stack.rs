//! Everything that the auth service lives among, and replicas of it.

use std::{fs, path::PathBuf, process::Command};

use hsmd_store::testing::RedisServer;
use rustix::process::getuid;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    client::Http,
    postgres::Postgres,
    process::{Process, run, sibling, wait_for},
};

/// hsmd with a token and a key log, Redis, and Postgres with a database for each of the two.
pub(crate) struct Stack {
    pub(crate) identity: String,
    hsmd: Option<Process>,
    redis: RedisServer,
    pub(crate) runtime: Runtime,
    pub(crate) postgres: Postgres,
    pub(crate) directory: TempDir,
}

/// A replica of a service.
pub(crate) struct Service {
    pub(crate) process: Process,
    pub(crate) http: Http,
}

impl Stack {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a folder");
        let postgres = Postgres::start();
        let runtime = Runtime::new().expect("a runtime");
        let redis = runtime.block_on(RedisServer::start()).expect("redis-server starts");
        let identity = String::new();
        let mut stack = Self { identity, hsmd: None, redis, runtime, postgres, directory };
        stack.write("auth.url", &stack.postgres.database("auth"));
        stack.set_up_hsmd();
        stack.start_hsmd();
        stack
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A replica of the auth service that is ready.
    pub(crate) fn auth(&self, name: &str) -> Service {
        self.auth_with(name, "")
    }

    /// One with more configuration.
    pub(crate) fn auth_with(&self, name: &str, more: &str) -> Service {
        let config = format!(
            "{}[database]\nurl_file = \"{}\"\n{more}",
            self.service_config(),
            self.path("auth.url").display()
        );
        self.service("hsmd-auth", name, &config).ready()
    }

    /// The keys service, ready.
    pub(crate) fn keys(&self) -> Service {
        self.service("hsmd-keys", "keys", &self.service_config()).ready()
    }

    /// An application, ready.
    pub(crate) fn app(&self) -> Service {
        self.service("hsmd-app", "app", &self.service_config()).ready()
    }

    /// Starts a service and waits until it listens.
    pub(crate) fn service(&self, program: &str, name: &str, config: &str) -> Service {
        self.write(&format!("{name}.toml"), config);
        let mut command = Command::new(sibling(program));
        command.arg("--config").arg(self.path(&format!("{name}.toml")));
        let mut process = Process::start(&mut command, self.path(&format!("{name}.log")));
        let address = wait_for("an address", || {
            if let Some(status) = process.ended() {
                panic!("{name} ended: {status}: {}", process.log());
            }
            let log = process.log();
            let (_, rest) = log.split_once("listening address=")?;
            rest.split_once('\n').map(|(address, _)| address.to_owned())
        });
        Service { process, http: Http::new(&format!("http://{address}")) }
    }

    fn service_config(&self) -> String {
        format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n\
             [hsm]\nidentity = \"{}\"\nendpoint = \"{}\"\n\
             [redis]\nurl = \"{}\"\n",
            self.identity,
            self.endpoint("service"),
            self.redis.url()
        )
    }

    pub(crate) fn hsmctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(sibling("hsmctl"));
        command.args(["--endpoint", &self.endpoint("service")]);
        command.args(["--admin-endpoint", &self.endpoint("admin")]);
        run(command.args(["--identity", &self.identity]).args(arguments))
    }

    pub(crate) fn flush_redis(&self) {
        self.runtime.block_on(self.redis.flush()).expect("Redis answers");
    }

    pub(crate) fn kill_redis(&mut self) {
        self.runtime.block_on(self.redis.kill()).expect("our child");
    }

    pub(crate) fn restart_redis(&mut self) {
        self.runtime.block_on(self.redis.restart()).expect("redis-server starts");
    }

    pub(crate) fn store(&self) -> hsmd_store::Store {
        self.redis.store().expect("our URL")
    }

    pub(crate) fn stop_hsmd(&mut self) {
        self.hsmd = None;
    }

    /// Starts the daemon and waits until it signs.
    pub(crate) fn start_hsmd(&mut self) {
        let mut command = self.hsmd_command();
        command.arg("serve");
        self.hsmd = Some(Process::start(&mut command, self.path("hsmd.log")));
        wait_for("hsmd", || {
            let mut command = Command::new(sibling("hsmctl"));
            command.args(["--endpoint", &self.endpoint("service")]);
            command.args(["--admin-endpoint", &self.endpoint("admin"), "status"]);
            command.output().expect("hsmctl starts").status.success().then_some(())
        });
    }

    fn set_up_hsmd(&mut self) {
        let owner = self.postgres.database("hsmd");
        self.postgres.sql("postgres", "CREATE ROLE hsmd_writer LOGIN");
        self.write("owner.url", &owner);
        self.write("writer.url", &self.postgres.url("hsmd_writer", "hsmd"));
        self.write("pin", "73914628");
        fs::create_dir(self.path("state")).expect("a folder");
        let (folder, uid) = (self.directory.path().display(), getuid().as_raw());
        let config = format!(
            r#"state_dir = "{folder}/state"
[database]
writer_url_file = "{folder}/writer.url"
owner_url_file = "{folder}/owner.url"
schema = "hsmd"
[[token]]
module = "/usr/lib/softhsm/libsofthsm2.so"
label = "auth-tests"
pin_file = "{folder}/pin"
[purposes]
endorse = ["access", "response"]
sign = []
[listen.service]
path = "{folder}/service.sock"
mode = "0600"
[listen.admin]
path = "{folder}/admin.sock"
mode = "0600"
[[caller]]
name = "services"
uid = {uid}
endorse = ["access", "response"]
max_ttl = "24h"
read_log = true
[[admin]]
name = "tests"
uid = {uid}
allow = ["status", "rotate", "taint"]
"#
        );
        self.write("hsmd.toml", &config);
        run(Command::new(sibling("hsmd-softhsm"))
            .args(["provision", "--label", "auth-tests", "--dir"])
            .arg(self.path("softhsm"))
            .arg("--pin-file")
            .arg(self.path("pin")));
        run(self.hsmd_command().arg("migrate"));
        self.identity = run(self.hsmd_command().arg("init"));
    }

    fn hsmd_command(&self) -> Command {
        let mut command = Command::new(sibling("hsmd"));
        command.env("SOFTHSM2_CONF", self.path("softhsm").join("softhsm2.conf"));
        command.arg("--config").arg(self.path("hsmd.toml"));
        command
    }

    fn endpoint(&self, listener: &str) -> String {
        format!("unix://{}/{listener}.sock", self.directory.path().display())
    }

    /// Secrets among them: nobody else may read these files.
    fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut options = fs::OpenOptions::new();
        let options = options.create(true).truncate(true).write(true).mode(0o600);
        let mut file = options.open(self.path(name)).expect("a file");
        std::io::Write::write_all(&mut file, text.as_bytes()).expect("written");
    }
}

impl Service {
    /// Waits until the service is ready.
    pub(crate) fn ready(self) -> Self {
        wait_for("a service to be ready", || (self.http.get("/ready").status == 200).then_some(()));
        self
    }
}
