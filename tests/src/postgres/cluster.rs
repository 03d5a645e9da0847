//! A server of our own: made, stopped, started, and gone with the process that made it.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// Starts a cluster in `$1`, or a replica there of the one in `$3`, and ends it, and the folder with it, when
/// standard input is closed: so it never outlives the test, however that ends. Nothing in it needs to
/// survive a power cut.
const CLUSTER: &str = r#"
cd "$1" || exit 1
if [ "$3" ]; then
    "$2/pg_basebackup" -D data -h "$3" -U postgres -c fast -R --no-sync >basebackup.log 2>&1
else
    "$2/initdb" -D data -U postgres --auth=trust --encoding=UTF8 --locale=C --no-sync >initdb.log 2>&1
fi &&
cat >>data/postgresql.conf <<END
listen_addresses = ''
unix_socket_directories = '$1'
unix_socket_permissions = 0700
fsync = off
max_connections = 400
shared_buffers = 32MB
END
"$2/pg_ctl" -D data -w -s -l log start &&
echo ready
read -r _
"$2/pg_ctl" -D data -w -s -m fast stop 2>stop.log
rm -rf "$1"
"#;

/// A private Postgres on a Unix socket.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) folder: PathBuf,
    /// Closed by the end of this process.
    keeper: (Child, ChildStdin),
}

impl Cluster {
    /// A new one, or a replica of the one in a folder.
    pub(super) async fn start(of: Option<&'static Path>) -> Self {
        let started = tokio::task::spawn_blocking(move || Self::start_blocking(of));
        started.await.expect("a started Postgres")
    }

    fn start_blocking(of: Option<&Path>) -> Self {
        // Short: the path of a Unix socket has 108 bytes at the most.
        let folder = tempfile::Builder::new().prefix("hsmd-pg.").tempdir_in("/tmp");
        let folder = folder.expect("a folder for Postgres").keep();
        let mut shell = as_postgres("sh");
        if nix::unistd::getuid().is_root() {
            run(Command::new("chown").arg("postgres:").arg(&folder));
        }
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).expect("chmod");
        let mut keeper = shell
            .args(["-c", CLUSTER, "sh"])
            .args([folder.as_path(), &programs(), of.unwrap_or(Path::new(""))])
            .current_dir("/")
            // Ctrl-C is for the test: this one ends when the test has.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let stdin = keeper.stdin.take().expect("its standard input");
        let mut line = String::new();
        let output = keeper.stdout.take().expect("its standard output");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)
            .expect("a line from the shell");
        assert_eq!(line, "ready\n", "Postgres does not start, see {}", folder.display());
        Self { folder, keeper: (keeper, stdin) }
    }

    /// Runs pg_ctl for it.
    pub(super) fn control(&self, arguments: &[&str]) {
        let mut command = as_postgres(programs().join("pg_ctl"));
        command.current_dir(&self.folder).args(["-D", "data", "-w", "-s"]).args(arguments);
        run(command.stdout(Stdio::null()));
    }

    /// Stops the server and removes its folder: the shell no longer waits.
    pub(super) fn end(&mut self) {
        let (keeper, stdin) = &mut self.keeper;
        let told = stdin.write_all(b"\n").and_then(|()| stdin.flush());
        told.and_then(|()| keeper.wait().map(drop)).expect("the end of a Postgres");
    }
}

/// Postgres refuses to run as root; it then runs as the user that its Debian package made.
fn as_postgres(program: impl AsRef<std::ffi::OsStr>) -> Command {
    if !nix::unistd::getuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

fn run(command: &mut Command) {
    let status = command.status().expect("a command that can be run");
    assert!(status.success(), "{command:?}: {status}");
}

/// The folder of the newest Postgres's programs, as Debian lays them out.
fn programs() -> PathBuf {
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    std::fs::read_dir("/usr/lib/postgresql")
        .expect("the Debian package postgresql")
        .map(|entry| entry.expect("an entry").path())
        .max_by_key(version)
        .expect("a version of Postgres")
        .join("bin")
}
