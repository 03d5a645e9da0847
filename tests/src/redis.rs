//! A private Redis: Unix socket only, in a folder of its own, gone when dropped.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use hsmd_store::{Options, Store, StoreError};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::until;

/// A running `redis-server`. It can be stopped, frozen and started again on the same socket, and keeps
/// its snapshot (if [`save`](Self::save) made one) across a restart.
#[derive(Debug)]
pub struct RedisServer {
    directory: TempDir,
    /// More arguments of its command line.
    arguments: Vec<String>,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    /// When `redis-server` can't be started.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same with more arguments of its command line.
    ///
    /// # Errors
    /// When `redis-server` can't be started.
    pub async fn start_with(arguments: &[String]) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut server = Self { directory, arguments: arguments.to_vec(), child: None };
        server.restart().await?;
        Ok(server)
    }

    /// Starts a Sentinel, which keeps its state in this file.
    ///
    /// # Errors
    /// When `redis-server` can't be started.
    pub async fn start_sentinel(file: &Path) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let socket =
            format!("unixsocket {}\nport 0\n", directory.path().join("redis.sock").display());
        std::fs::write(file, socket)?;
        let child = Command::new("redis-server")
            .arg(file)
            .arg("--sentinel")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let server = Self { directory, arguments: Vec::new(), child: Some(child) };
        until("Sentinel answers", async || server.command(&["PING"]).await.is_ok()).await;
        Ok(server)
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    /// The URL to connect to.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Options to connect with; ten seconds for each operation, since a loaded machine is no fault.
    pub fn options(&self) -> Options {
        Options {
            url: self.url(),
            tls: None,
            username: None,
            password: None,
            timeout: Duration::from_secs(10),
        }
    }

    /// A store on this server.
    ///
    /// # Errors
    /// Never in practice: the URL is ours.
    pub fn store(&self) -> Result<Store, StoreError> {
        Store::open(&self.options())
    }

    /// Kills the server if it runs and starts it again, with the last snapshot if there is one.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn restart(&mut self) -> io::Result<()> {
        self.kill().await?;
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(self.socket())
            .arg("--dir")
            .arg(self.directory.path())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        self.child = Some(child);
        until("Redis answers", async || self.command(&["PING"]).await.is_ok()).await;
        Ok(())
    }

    /// Kills the server, as a crash would.
    ///
    /// # Errors
    /// When the process can't be waited for.
    pub async fn kill(&mut self) -> io::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await?;
        }
        match std::fs::remove_file(self.socket()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The process id while it runs, for signals (SIGSTOP makes a server that accepts and never answers).
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Empties all databases.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn flush(&self) -> io::Result<()> {
        self.command(&["FLUSHALL"]).await
    }

    /// Writes a snapshot, which the next start loads.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn save(&self) -> io::Result<()> {
        self.command(&["SAVE"]).await
    }

    /// Runs one command, in database 0.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    pub async fn command(&self, words: &[&str]) -> io::Result<()> {
        let [name, arguments @ ..] = words else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no command"));
        };
        let client = redis::Client::open(self.url()).map_err(io::Error::other)?;
        let mut connection =
            client.get_multiplexed_async_connection().await.map_err(io::Error::other)?;
        redis::cmd(name)
            .arg(arguments)
            .query_async::<()>(&mut connection)
            .await
            .map_err(io::Error::other)
    }
}
