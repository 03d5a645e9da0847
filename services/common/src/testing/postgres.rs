//! A private Postgres cluster on a Unix socket, as user postgres where the tests run as root.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::PathBuf,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use super::run;

const BIN: &str = "/usr/lib/postgresql/15/bin";

/// A running cluster; stopped and removed when dropped. Every call waits for a process.
pub struct Postgres {
    directory: TempDir,
}

impl Postgres {
    /// Makes a cluster and starts it.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // User postgres has to get at its folder in here.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let postgres = Self { directory };
        let data = postgres.data();
        fs::create_dir(&data).unwrap();
        if postgres.is_root() {
            run(Command::new("chown").arg("postgres:").arg(&data));
        }
        let mut initdb = postgres.tool("initdb");
        run(initdb.arg("-D").arg(&data).args(["--auth=trust", "--locale=C", "--no-sync"]));
        postgres.up();
        postgres
    }

    /// A database with an owner of the same name, and its URL.
    pub fn database(&self, name: &str) -> String {
        self.sql("postgres", &format!("CREATE ROLE {name} LOGIN"));
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER {name}"));
        self.url(name, name)
    }

    /// The URL of a database for a role.
    pub fn url(&self, role: &str, database: &str) -> String {
        format!("postgresql://{role}@/{database}?host={}", self.data().display())
    }

    /// Runs a statement as superuser and returns its rows, columns separated by `|`.
    pub fn sql(&self, database: &str, statement: &str) -> String {
        run(self.psql(database, statement).args(["-v", "ON_ERROR_STOP=1"]))
    }

    /// As [`Self::sql`], for a statement that the database must refuse.
    pub fn refused(&self, database: &str, statement: &str) {
        let output = self.psql(database, statement).output().expect("psql starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("ERROR"), "{statement}: not refused: {errors}");
    }

    /// Starts the server after [`Self::down`].
    pub fn up(&self) {
        let data = self.data();
        let options = format!(
            "-c listen_addresses='' -c unix_socket_directories='{}' -c fsync=off",
            data.display()
        );
        let mut start = self.control();
        start.args(["-w", "-o", &options, "-l"]).arg(data.join("log")).arg("start");
        // Its output would keep our pipe open.
        assert!(start.status().expect("pg_ctl starts").success(), "Postgres does not start");
    }

    /// Stops the server at once, as a crash does.
    pub fn down(&self) {
        run(self.control().args(["-m", "immediate", "stop"]));
    }

    fn psql(&self, database: &str, statement: &str) -> Command {
        let mut psql = self.tool("psql");
        psql.arg("-h").arg(self.data()).args(["-XAqt", "-d", database, "-c", statement]);
        psql
    }

    fn control(&self) -> Command {
        let mut control = self.tool("pg_ctl");
        control.arg("-D").arg(self.data()).arg("-s");
        control
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn tool(&self, name: &str) -> Command {
        let tool = format!("{BIN}/{name}");
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
        fs::metadata(self.directory.path()).unwrap().uid() == 0
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It may be down already.
        drop(self.control().args(["-m", "immediate", "stop"]).output());
    }
}
