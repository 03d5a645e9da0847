//! hsmd, Postgres and replicas of the service, for one test.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

pub(crate) use hsmd_tests::wait_for;
use hsmd_tests::{Database, RunningHsm, RunningService, program, write_private};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::client::Http;

/// A page that is trusted and is not the service.
pub(crate) const PAGE: &str = "https://app.example.com";

/// What every test uses that is not about limits.
const NO_LIMITS: &str = "[limits]\n\
    path = { max = 100000, window = \"60s\" }\n\
    sign_in = { max = 100000, window = \"60s\" }\n\
    mail = { max = 100000, window = \"60s\" }\n\
    attempts = 100000\nmails_per_hour = 100000\nrequests_per_second = 0\n";

/// The tests are threads that wait; what is asynchronous runs on `runtime`.
pub(crate) struct Stack {
    pub(crate) hsm: RunningHsm,
    /// The accounts'.
    pub(crate) database: Database,
    folder: TempDir,
    pub(crate) runtime: Runtime,
}

/// A replica.
pub(crate) struct Replica {
    pub(crate) process: RunningService,
    pub(crate) http: Http,
    pub(crate) config: PathBuf,
}

/// What a replica is configured with.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) listen: String,
    pub(crate) http: &'static str,
    pub(crate) site: String,
    pub(crate) limits: String,
    pub(crate) more: String,
    pub(crate) tokens: String,
    pub(crate) database: &'static str,
    pub(crate) staleness: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
            http: "",
            site: format!(
                "public_url = \"http://127.0.0.1:8031\"\ntrusted_origins = [\"{PAGE}\"]\n"
            ),
            limits: NO_LIMITS.to_owned(),
            more: String::new(),
            tokens: "listing_delay = \"1s\"\n".to_owned(),
            database: "",
            staleness: "60s",
        }
    }
}

impl Stack {
    pub(crate) fn start() -> Self {
        Self::over(Database::create())
    }

    /// The same with a Postgres that the test may stop.
    pub(crate) fn with_a_postgres_of_its_own() -> Self {
        Self::over(Database::create_alone())
    }

    fn over(database: impl Future<Output = Database>) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let (hsm, database) =
            runtime.block_on(async { tokio::join!(RunningHsm::start(), database) });
        let folder = tempfile::tempdir().expect("a folder");
        let stack = Self { hsm, database, folder, runtime };
        stack.secret("database.url", &stack.database.owner_url());
        stack.secret("gateway.secrets", &format!("{}\n{}\n", secret('g'), secret('h')));
        stack.secret("service.secrets", &format!("{}\n", secret('s')));
        stack
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn secret(&self, name: &str, text: &str) {
        write_private(&self.path(name), text);
    }

    /// A replica that is ready.
    pub(crate) fn accounts(&self) -> Replica {
        self.accounts_with(&Settings::default()).ready()
    }

    /// A replica that sends its mails to a file.
    pub(crate) fn accounts_with_mail(&self, users: &str) -> Replica {
        let outbox = self.path("outbox.jsonl");
        let more = format!("[mail]\noutbox = \"{}\"\n[users]\n{users}", outbox.display());
        self.accounts_with(&Settings { more, ..Settings::default() }).ready()
    }

    /// A replica that listens.
    pub(crate) fn accounts_with(&self, settings: &Settings) -> Replica {
        let config = self.config(settings);
        let starting = RunningService::start("accounts", self.folder.path(), &config);
        let process = self.runtime.block_on(starting);
        let http = Http::new(&process.url);
        // For its other commands.
        self.secret("accounts.toml", &config);
        Replica { process, http, config: self.path("accounts.toml") }
    }

    pub(crate) fn config(&self, settings: &Settings) -> String {
        let Settings { listen, http, site, limits, more, tokens, database, staleness } = settings;
        let path = |name| self.path(name).display().to_string();
        format!(
            "[http]\nlisten = \"{listen}\"\n{http}\
             [site]\n{site}\
             [hsm]\nidentity = \"{}\"\nendpoint = \"{}\"\nmax_staleness = \"{staleness}\"\n\
             [database]\nurl_file = \"{}\"\n{database}\
             [passwords]\nmemory_kib = 64\niterations = 1\n\
             [tokens]\n{tokens}\
             [internal]\ngateway_secrets_file = \"{}\"\nservice_secrets_file = \"{}\"\n\
             {limits}{more}",
            self.hsm.identity,
            self.hsm.endpoint(),
            path("database.url"),
            path("gateway.secrets"),
            path("service.secrets"),
        )
    }

    /// Runs one of the command's other subcommands.
    pub(crate) fn command(&self, replica: &Replica, arguments: &[&str]) -> Output {
        let mut command = Command::new(program("hsmd-accounts"));
        command.arg("--config").arg(&replica.config).args(arguments);
        command.output().expect("it starts")
    }

    /// Runs a statement as the tables' owner.
    pub(crate) fn sql(&self, statement: &str) {
        self.try_sql(statement).expect("a statement that succeeds");
    }

    pub(crate) fn try_sql(&self, statement: &str) -> Result<(), impl std::fmt::Debug + use<>> {
        self.runtime.block_on(self.database.execute(true, statement))
    }

    /// The one value of a query, as text.
    pub(crate) fn value(&self, query: &str) -> String {
        self.runtime.block_on(self.database.value(query))
    }

    pub(crate) fn taint(&self) {
        self.runtime.block_on(self.hsm.daemon().taint_head());
    }
}

impl Replica {
    pub(crate) fn ready(self) -> Self {
        wait_for("a replica to be ready", || (self.http.get("/ready").status == 200).then_some(()));
        self
    }

    /// A counter of `/metrics`.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.http.get("/metrics").body;
        let line =
            text.lines().find_map(|line| line.strip_prefix(&format!("hsmd_accounts_{name} ")));
        line.unwrap_or("0").parse().unwrap_or_else(|_| panic!("{name}: {text}"))
    }
}

/// A secret of 32 characters.
pub(crate) fn secret(letter: char) -> String {
    std::iter::repeat_n(letter, 32).collect()
}
