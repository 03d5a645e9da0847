//! Everything that the auth service lives among, and replicas of it.

use std::{path::PathBuf, time::Duration};

use hsmd_chain::cesr::PublicKey;
use hsmd_tests::{
    Database, Output, RedisServer, RunningHsm, RunningService, wait_for, write_private,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::client::Http;

/// hsmd, Redis, and a database for each of hsmd and auth. The tests are threads that wait; what is
/// asynchronous runs on `runtime`.
pub(crate) struct Stack {
    pub(crate) hsm: RunningHsm,
    pub(crate) accounts: Database,
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
        Self::over(Database::create())
    }

    /// The same with a Postgres for auth that the test may stop.
    pub(crate) fn with_a_postgres_of_its_own() -> Self {
        Self::over(Database::create_alone())
    }

    fn over(accounts: impl Future<Output = Database>) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let (hsm, accounts, redis) = runtime
            .block_on(async { tokio::join!(RunningHsm::start(), accounts, RedisServer::start()) });
        let directory = tempfile::tempdir().expect("a folder");
        let redis = redis.expect("redis-server starts");
        let stack = Self { hsm, accounts, redis, directory, runtime };
        write_private(&stack.path("auth.url"), &stack.accounts.owner_url());
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

    /// What `hsmd-auth check` says.
    pub(crate) fn check(&self) -> Output {
        let more = format!("[database]\nurl_file = \"{}\"\n", self.path("auth.url").display());
        let config = self.config(&more);
        let checked = RunningService::check("auth", self.directory.path(), &config);
        self.runtime.block_on(checked)
    }

    pub(crate) fn set_redis(&self, setting: &str, value: &str) {
        let command = ["CONFIG", "SET", setting, value];
        self.runtime.block_on(self.redis.command(&command)).expect("Redis answers");
    }

    fn service(&self, name: &str, more: &str) -> Service {
        let config = self.config(more);
        let starting = RunningService::start(name, self.directory.path(), &config);
        let process = self.runtime.block_on(starting);
        let http = Http::new(&process.url);
        Service { process, http }
    }

    fn config(&self, more: &str) -> String {
        format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n\
             [hsm]\nidentity = \"{}\"\nendpoint = \"{}\"\n\
             [redis]\nurl = \"{}\"\ntimeout = \"5s\"\n{more}",
            self.hsm.identity,
            self.hsm.endpoint(),
            self.redis.url()
        )
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
        self.runtime.block_on(self.hsm.daemon().taint_head());
    }

    /// Runs a statement in auth's database, as its owner.
    pub(crate) fn sql(&self, statement: &str) {
        self.try_sql(statement).expect("a statement that succeeds");
    }

    pub(crate) fn try_sql(&self, statement: &str) -> Result<(), impl std::fmt::Debug + use<>> {
        self.runtime.block_on(self.accounts.execute(true, statement))
    }

    /// The one value of a query in auth's database, as text.
    pub(crate) fn value(&self, query: &str) -> String {
        self.runtime.block_on(self.accounts.value(query))
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
        wait_for("the service is ready", || self.http.get("/ready").status == 200);
        self
    }
}
