//! An hsmd that runs, for whoever needs one as a neighbour.

use std::time::Duration;

use hsmd_chain::PublicKey;

use crate::{Daemon, Database, Hsmd};

/// A running hsmd and what it stands on. Callers with our uid may have keys endorsed for `access`,
/// `response`, `jwt` and `other`, for 24 h at the most, read the log, rotate and taint. The daemon ends first.
#[derive(Debug)]
pub struct RunningHsm {
    /// The identity of its key log.
    pub identity: String,
    daemon: Option<Daemon>,
    /// What it stands on.
    pub hsmd: Hsmd,
}

impl RunningHsm {
    /// A new identity, served.
    pub async fn start() -> Self {
        Self::over(Database::create().await).await
    }

    /// The same in a database of the test's own making.
    pub async fn over(key_log: Database) -> Self {
        let purposes = ["access", "response", "jwt", "other"].map(toml::Value::from).to_vec();
        let hsmd = Hsmd::fresh_over(key_log).await;
        let hsmd = hsmd
            .set("purposes.endorse", purposes.clone())
            .set("purposes.sign", vec!["document"])
            .set("caller.0.endorse", purposes);
        hsmd.migrate().await;
        let identity = hsmd.init().await;
        let mut running = Self { identity, daemon: None, hsmd };
        running.serve().await;
        running
    }

    /// Starts the daemon and waits until it signs.
    pub async fn serve(&mut self) {
        self.daemon = Some(self.hsmd.serve().await);
    }

    /// Kills the daemon.
    pub async fn kill(&mut self) {
        self.daemon.take().expect("a daemon that runs").kill().await;
    }

    /// The daemon, which must run.
    pub fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("a daemon that runs")
    }

    /// An endorsement of a key, as published.
    pub async fn endorse(&self, purpose: &str, key: &PublicKey, ttl: Duration) -> String {
        let signed = self.daemon().endorse(purpose, key.as_str(), ttl).await;
        signed.expect("an endorsement").to_json()
    }

    /// Where its service listener is.
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.hsmd.path("service.sock").display())
    }
}
