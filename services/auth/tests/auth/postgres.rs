//! A private Postgres cluster on a Unix socket, as user postgres where the tests run as root.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

use rustix::process::getuid;
use tempfile::TempDir;

use crate::process::run;

const BIN: &str = "/usr/lib/postgresql/15/bin";

/// A running cluster; stopped and removed when dropped.
pub(crate) struct Postgres {
    directory: TempDir,
}

impl Postgres {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a folder");
        // User postgres has to get at its folder in here.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).expect("ours");
        let postgres = Self { directory };
        let data = postgres.data();
        fs::create_dir(&data).expect("a folder");
        if getuid().is_root() {
            run(Command::new("chown").arg("postgres:").arg(&data));
        }
        run(postgres.tool("initdb").arg("-D").arg(&data).args(["--auth=trust", "--locale=C"]));
        postgres.up();
        postgres
    }

    /// A database with an owner of the same name, and its URL.
    pub(crate) fn database(&self, name: &str) -> String {
        self.sql("postgres", &format!("CREATE ROLE {name} LOGIN"));
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER {name}"));
        self.url(name, name)
    }

    pub(crate) fn url(&self, role: &str, database: &str) -> String {
        format!("postgresql://{role}@/{database}?host={}", self.data().display())
    }

    /// Runs a statement as superuser and returns its rows, columns separated by `|`.
    pub(crate) fn sql(&self, database: &str, statement: &str) -> String {
        run(self
            .tool("psql")
            .arg("-h")
            .arg(self.data())
            .args(["-XAqt", "-v", "ON_ERROR_STOP=1"])
            .args(["-d", database, "-c", statement]))
    }

    /// As [`Self::sql`], for a statement that the database must refuse.
    pub(crate) fn refused(&self, database: &str, statement: &str) -> String {
        let output = self
            .tool("psql")
            .arg("-h")
            .arg(self.data())
            .args(["-XAqt", "-d", database, "-c", statement])
            .output()
            .expect("psql starts");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(errors.contains("ERROR"), "{statement}: not refused: {errors}");
        errors
    }

    pub(crate) fn up(&self) {
        let data = self.data();
        let options = format!(
            "-c listen_addresses='' -c unix_socket_directories='{}' -c fsync=off",
            data.display()
        );
        let log = data.join("log");
        // Its output would keep our pipe open.
        let status = self
            .tool("pg_ctl")
            .arg("-D")
            .arg(&data)
            .args(["-w", "-s", "-l"])
            .arg(log)
            .args(["-o", &options, "start"])
            .status();
        assert!(status.expect("pg_ctl starts").success(), "Postgres does not start");
    }

    pub(crate) fn down(&self) {
        run(self.tool("pg_ctl").arg("-D").arg(self.data()).args(["-m", "immediate", "stop"]));
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn tool(&self, name: &str) -> Command {
        let tool = format!("{BIN}/{name}");
        let mut command = if getuid().is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", &tool]);
            command
        } else {
            Command::new(tool)
        };
        command.current_dir("/");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It may be down already.
        let mut stop = self.tool("pg_ctl");
        drop(stop.arg("-D").arg(self.data()).args(["-s", "-m", "immediate", "stop"]).output());
    }
}
