//! A configured hsmd: database, token, configuration, state folder and sockets.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hsmd_chain::{Anchor, KeyLog};
use tempfile::TempDir;
use tokio::process::Command;

use crate::command::{command, program};
use crate::token::{LABEL, PIN};
use crate::{
    Daemon, Database, KEY_LABEL, Observer, Output, OwnNetwork, Rpc, Settings, TestToken, now, until,
};

/// A configured hsmd, as one machine has it. Its commands are real processes. Dropping it removes its
/// folder; drop the daemons before.
#[derive(Debug)]
pub struct Hsmd {
    /// Where the key log is.
    pub database: Arc<Database>,
    /// Where the keys are.
    pub token: Arc<TestToken>,
    /// What every reader of this identity saw.
    pub observer: Arc<Observer>,
    settings: Settings,
    environment: Vec<(&'static str, OsString)>,
    /// The words before its commands.
    before: Vec<OsString>,
    folder: TempDir,
}

impl Hsmd {
    /// A new database and a new token; nothing has been run on them.
    pub async fn fresh() -> Self {
        Self::fresh_over(Database::create().await).await
    }

    /// This database and a new token; nothing has been run on them.
    pub async fn fresh_over(database: Database) -> Self {
        let token = tokio::task::spawn_blocking(TestToken::provision).await.expect("a token");
        Self::over(Arc::new(database), Arc::new(token), Arc::default())
    }

    /// A schema and an identity; no daemon runs yet.
    pub async fn initialised() -> Self {
        let hsmd = Self::fresh().await;
        hsmd.migrate().await;
        hsmd.init().await;
        hsmd
    }

    fn over(database: Arc<Database>, token: Arc<TestToken>, observer: Arc<Observer>) -> Self {
        // Short: the path of a Unix socket has 108 bytes at the most.
        let folder = tempfile::Builder::new().prefix("hsmd-t.").tempdir_in("/tmp");
        let folder = folder.expect("a folder for hsmd");
        let (settings, environment, before) = (settings(), Vec::new(), Vec::new());
        let hsmd = Self { database, token, observer, settings, environment, before, folder };
        hsmd.write_pin(PIN);
        hsmd
    }

    /// Another machine's hsmd on the same database and token, with the same settings but a state
    /// folder and sockets of its own.
    pub fn twin(&self) -> Self {
        let Self { database, token, observer, .. } = self;
        let twin = Self::over(Arc::clone(database), Arc::clone(token), Arc::clone(observer));
        let (settings, environment) = (self.settings.clone(), self.environment.clone());
        Self { settings, environment, ..twin }
    }

    /// The same hsmd over another database.
    #[must_use]
    pub fn with_database(self, database: Database) -> Self {
        Self { database: Arc::new(database), ..self }
    }

    /// The same hsmd over a new database that has the schema and nothing in it.
    #[must_use]
    pub async fn into_empty_database(self) -> Self {
        let hsmd = self.with_database(Database::create().await);
        hsmd.migrate().await;
        hsmd
    }

    /// The same hsmd with an observer of its own: for a test that makes a second history on purpose.
    #[must_use]
    pub fn unobserved(self) -> Self {
        Self { observer: Arc::default(), ..self }
    }

    /// The same hsmd with a setting changed; see [`Settings::set`].
    #[must_use]
    pub fn set(mut self, path: &str, value: impl Into<toml::Value>) -> Self {
        self.settings = self.settings.set(path, value);
        self
    }

    /// The same hsmd with one more entry of `caller`, `admin` or `token`.
    #[must_use]
    pub fn push(mut self, array: &str, entry: toml::Table) -> Self {
        self.settings = self.settings.push(array, entry);
        self
    }

    /// The same hsmd without a setting of the top level.
    #[must_use]
    pub fn unset(mut self, key: &str) -> Self {
        self.settings = self.settings.unset(key);
        self
    }

    /// The same hsmd with an environment variable for its processes.
    #[must_use]
    pub fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// The same hsmd, whose processes run in a network of their own.
    #[must_use]
    pub fn within(self, network: &OwnNetwork) -> Self {
        Self { before: network.enter(), ..self }
    }

    /// The same hsmd, whose processes start after these words, like `prlimit --nofile=1024`.
    #[must_use]
    pub fn after(self, words: &[&str]) -> Self {
        Self { before: words.iter().map(OsString::from).collect(), ..self }
    }

    /// The same hsmd with the fault module before its token, and what sets the faults.
    pub fn with_faults(self) -> (Self, hsmd_fault::Control) {
        let control = self.path("fault");
        let faults = hsmd_fault::Control::open(&control).expect("a control file");
        let module = program("libhsmd_fault.so").display().to_string();
        let hsmd = self
            .set("token.0.module", module)
            .env("HSMD_FAULT_MODULE", hsmd_softhsm::MODULE)
            .env("HSMD_FAULT_CONTROL", control);
        (hsmd, faults)
    }

    /// Replaces the PIN in the file that the daemon reads; the token's own does not change.
    pub fn write_pin(&self, pin: &str) {
        write_private(&self.path("pin"), &format!("{pin}\n"));
    }

    /// Replaces a wrong PIN by the right one.
    pub fn correct_pin(&self) {
        self.write_pin(PIN);
    }

    /// Where the journal is.
    pub fn state_dir(&self) -> PathBuf {
        self.path("state")
    }

    /// Loses the log in the state folder.
    pub fn forget_log(&self) {
        for entry in std::fs::read_dir(self.state_dir()).expect("the state folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "log") {
                std::fs::remove_file(path).expect("remove the log");
            }
        }
    }

    /// Loses the journal: its files and its copies on the token, records and all.
    pub fn forget_journal(&self) {
        std::fs::remove_dir_all(self.state_dir()).expect("remove the state folder");
        self.token.forget_journal();
    }

    /// A path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Creates or updates the schema.
    pub async fn migrate(&self) {
        self.run(&["migrate"]).await.good();
    }

    /// Makes the identity and returns it.
    pub async fn init(&self) -> String {
        let identity = self.run(&["init"]).await.good();
        identity.trim_end().to_owned()
    }

    /// Runs `hsmd export` and returns what it prints.
    pub async fn export(&self) -> String {
        self.run(&["export"]).await.good()
    }

    /// Runs a command of hsmd to its end.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        Output::of(&mut self.command(arguments)).await
    }

    /// Runs the operator's command line against this hsmd's sockets, in its folder.
    pub async fn hsmctl(&self, arguments: &[&str]) -> Output {
        let endpoint = |name| format!("unix://{}", self.path(name).display());
        let mut command =
            command(&self.before, "hsmctl", arguments.iter().map(std::ffi::OsStr::new));
        command.env("HSMD_ENDPOINT", endpoint("service.sock"));
        command.env("HSMD_ADMIN_ENDPOINT", endpoint("admin.sock"));
        Output::of(command.current_dir(self.folder.path())).await
    }

    /// Runs a command that dies at a failpoint, and asserts that it does.
    pub async fn run_until(&self, failpoint: &str, arguments: &[&str]) {
        let mut command = self.command(arguments);
        Output::of(command.env("FAILPOINTS", armed(failpoint))).await.killed();
    }

    /// Serves, and waits until it is ready.
    pub async fn serve(&self) -> Daemon {
        let mut daemon = self.launch(&[]);
        daemon.ready().await;
        daemon
    }

    /// Starts `hsmd serve` with more arguments and waits for nothing.
    pub fn launch(&self, arguments: &[&str]) -> Daemon {
        self.spawn(self.command(&[&["serve"], arguments].concat()))
    }

    /// Starts a daemon that dies at a failpoint: a name, or `name=action` of the crate `fail`.
    pub fn launch_until(&self, failpoint: &str) -> Daemon {
        let mut command = self.command(&["serve"]);
        command.env("FAILPOINTS", armed(failpoint));
        self.spawn(command)
    }

    fn spawn(&self, command: Command) -> Daemon {
        Daemon::spawn(command, self.path("log"), self.rpc())
    }

    /// Clients of the daemon that serves this configuration, whether or not it runs.
    pub fn rpc(&self) -> Rpc {
        let (service, admin) = (self.path("service.sock"), self.path("admin.sock"));
        Rpc::new(&service, &admin, Arc::clone(&self.observer))
    }

    /// Looks at the database and an export as well, and returns the one history that anybody ever saw,
    /// verified, which must be all that is in the database. Of a taint the row may follow later.
    pub async fn history(&self) -> KeyLog {
        until("the database has every event that was seen", async || {
            self.database.events().await.len() >= self.observer.count()
        })
        .await;
        for event in self.database.events().await {
            self.observer.note("the database", event);
        }
        let export = self.export().await;
        let history = self.observer.history();
        let anchor = Anchor::new(history.identity());
        let skew = std::time::Duration::from_secs(5);
        let exported = KeyLog::verify_json(export.as_bytes(), &anchor, now(), skew);
        for event in exported.expect("an export that verifies").events() {
            self.observer.note("export", hsmd_chain::SignedEvent::clone(event));
        }
        assert_eq!(export, history.to_json(), "the export is not the history that was seen");
        assert_eq!(self.database.events().await.len(), history.events().len());
        history
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.write_configuration();
        let config = self.path("hsmd.toml");
        let mut command = command(&self.before, "hsmd", ["--config".as_ref(), config.as_os_str()]);
        command.args(arguments).env("SOFTHSM2_CONF", self.token.conf());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn write_configuration(&self) {
        write_private(&self.path("owner.url"), &self.database.owner_url());
        write_private(&self.path("writer.url"), &self.database.writer_url());
        write_private(&self.path("hsmd.toml"), &self.settings.text(self.folder.path()));
    }
}

fn armed(failpoint: &str) -> String {
    if failpoint.contains('=') { failpoint.to_owned() } else { format!("{failpoint}=return") }
}

/// Everything to whoever runs the tests.
fn settings() -> Settings {
    let uid = nix::unistd::getuid();
    let module = hsmd_softhsm::MODULE;
    Settings::parse(&format!(
        r#"
        state_dir = "@/state"
        claim_wait = "50ms"
        [database]
        writer_url_file = "@/writer.url"
        owner_url_file = "@/owner.url"
        [[token]]
        module = "{module}"
        label = "{LABEL}"
        pin_file = "@/pin"
        key_label = "{KEY_LABEL}"
        [purposes]
        endorse = ["access", "response"]
        sign = ["document", "other"]
        [listen.service]
        path = "@/service.sock"
        mode = "0600"
        [listen.admin]
        path = "@/admin.sock"
        mode = "0600"
        [[caller]]
        name = "tester"
        uid = {uid}
        endorse = ["access"]
        sign = ["document"]
        max_ttl = "24h"
        read_log = true
        [[admin]]
        name = "tester"
        uid = {uid}
        allow = ["status", "rotate", "taint"]
        "#
    ))
}

/// Writes a file that only its owner may read, in one step.
pub fn write_private(path: &Path, text: &str) {
    let draft = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(&draft)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&draft, path))
        .expect("write a private file");
}
