//! Everything that the auth service lives among, and replicas of it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use hsmd_chain::cesr::PublicKey;
use hsmd_service::testing::{PATIENCE, RunningHsm, RunningService};
use hsmd_store::testing::RedisServer;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::client::Http;

/// hsmd, Redis, and a Postgres with a database for each of hsmd and auth. The tests are threads that
/// wait; what is asynchronous runs on `runtime`.
pub(crate) struct Stack {
    pub(crate) hsm: RunningHsm,
    redis: RedisServer,
    directory: TempDir,
    pub(crate) runtime: Runtime,
}

/// A replica of a service.
pub(crate) struct Service {
    pub(crate) process: RunningService,
    pub(crate) http: Http,
}

impl Stack {
    pub(crate) fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let hsm = runtime.block_on(RunningHsm::start());
        let redis = runtime.block_on(RedisServer::start()).expect("redis-server starts");
        let directory = tempfile::tempdir().expect("a folder");
        let stack = Self { hsm, redis, directory, runtime };
        let url_file = stack.path("auth.url");
        fs::write(&url_file, stack.hsm.postgres.database("auth")).expect("written");
        fs::set_permissions(url_file, fs::Permissions::from_mode(0o600)).expect("a mode");
        stack
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A replica of the auth service that is ready.
    pub(crate) fn auth(&self) -> Service {
        self.auth_with("")
    }

    /// One with more configuration.
    pub(crate) fn auth_with(&self, more: &str) -> Service {
        self.unready_auth(more).ready()
    }

    /// One that listens.
    pub(crate) fn unready_auth(&self, more: &str) -> Service {
        let url_file = self.path("auth.url");
        self.service("auth", &format!("[database]\nurl_file = \"{}\"\n{more}", url_file.display()))
    }

    /// The keys service, ready.
    pub(crate) fn keys(&self) -> Service {
        self.service("keys", "").ready()
    }

    /// An application, ready.
    pub(crate) fn app(&self) -> Service {
        self.service("app", "").ready()
    }

    fn service(&self, name: &str, more: &str) -> Service {
        let config = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n\
             [hsm]\nidentity = \"{}\"\nendpoint = \"{}\"\n\
             [redis]\nurl = \"{}\"\ntimeout = \"5s\"\n{more}",
            self.hsm.identity,
            self.hsm.endpoint("service"),
            self.redis.url()
        );
        let starting = RunningService::start(name, self.directory.path(), &config);
        let process = self.runtime.block_on(starting);
        let http = Http::new(&process.url);
        Service { process, http }
    }

    /// Has a key endorsed, and publishes that under this name as an access key.
    pub(crate) fn publish(&self, name: &PublicKey, purpose: &str, key: &PublicKey) {
        let endorsement = self.hsm.endorse(purpose, key, Duration::from_secs(3600));
        self.store_endorsement(name, &self.runtime.block_on(endorsement));
    }

    pub(crate) fn store_endorsement(&self, name: &PublicKey, text: &str) {
        let far = "2999-01-01T00:00:00.000Z".parse().expect("a time");
        let endorsements = self.store().access_endorsements;
        let stored = self.runtime.block_on(endorsements.publish(name, text, far));
        stored.expect("Redis answers");
    }

    pub(crate) fn taint(&self) {
        self.runtime.block_on(self.hsm.change("taint"));
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
        self.runtime.block_on(self.hsm.kill());
    }

    /// Starts the daemon and waits until it signs.
    pub(crate) fn start_hsmd(&mut self) {
        self.runtime.block_on(self.hsm.serve());
    }

    /// Waits until a service that was asked to stop has ended well.
    pub(crate) fn ended(&self, service: &mut Service) {
        self.runtime.block_on(service.process.ended());
    }
}

impl Service {
    /// Waits until the service is ready.
    pub(crate) fn ready(self) -> Self {
        wait_for("a service to be ready", || (self.http.get("/ready").status == 200).then_some(()));
        self
    }
}

/// Waits until the condition gives something.
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
