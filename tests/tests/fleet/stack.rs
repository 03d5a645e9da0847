//! The whole fleet, in processes, for one test.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use hsmd_client::{Client, ConnectOptions, LogOptions, LogSource, VerifiedLog};
use hsmd_store::testing::RedisServer;
use hsmd_tests::{Daemon, Database, Hsmd, program, until};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::user::Http;

/// How long replaced generations are believed by clients.
pub(crate) const WINDOW: Duration = Duration::from_secs(12 * 3600);

/// Everything that runs. The services end first.
pub(crate) struct Fleet {
    _services: Vec<Child>,
    /// Where users find it.
    pub(crate) face: Face,
    /// `None` while it is down.
    pub(crate) daemon: Option<Daemon>,
    pub(crate) redis: RedisServer,
    /// Auth's database, in a Postgres of its own.
    pub(crate) accounts: Database,
    pub(crate) hsmd: Hsmd,
    _folder: TempDir,
}

/// What a user has of the fleet.
#[derive(Clone)]
pub(crate) struct Face {
    pub(crate) keys: Http,
    pub(crate) auth: [Http; 2],
    pub(crate) app: Http,
    /// The key log as the user follows it.
    pub(crate) log: VerifiedLog,
}

impl Fleet {
    /// Starts everything, and waits until all of it is ready.
    pub(crate) async fn start() -> Self {
        let hsmd = Hsmd::fresh().await.with_database(Database::create_alone().await);
        let hsmd = hsmd.set("caller.0.endorse", vec!["access", "response"]);
        hsmd.migrate().await;
        let identity = hsmd.init().await;
        let daemon = hsmd.serve().await;
        let redis = RedisServer::start().await.unwrap();
        let accounts = Database::create_alone().await;

        let endpoint = format!("unix://{}", hsmd.path("service.sock").display());
        let source = LogSource::Grpc(Client::connect(&ConnectOptions::new(&endpoint)).unwrap());
        let log = VerifiedLog::follow(source, identity.parse().unwrap(), LogOptions::default());

        let folder = tempfile::tempdir().unwrap();
        let common = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n[hsm]\nidentity = \"{identity}\"\nendpoint = \"{endpoint}\"\n\
             [redis]\nurl = \"{}\"\ntimeout = \"5s\"\n",
            redis.url()
        );
        let url_file = folder.path().join("accounts.url");
        std::fs::write(&url_file, accounts.owner_url()).unwrap();
        let auth = format!(
            "{common}[database]\nurl_file = \"{}\"\n[limits]\nrequests_per_second = 0\n\
             challenges_per_minute = 0\n",
            url_file.display()
        );
        // Short, since after a flush nothing is answered for as long.
        let app = format!("{common}[access]\nclock_skew = \"500ms\"\n");
        let mut services = Vec::new();
        let mut urls = Vec::new();
        for (name, config) in [("keys", &common), ("auth", &auth), ("auth", &auth), ("app", &app)] {
            let (service, url) = start(folder.path(), name, config).await;
            services.push(service);
            urls.push(url);
        }
        let [keys, first, second, app] = <[Http; 4]>::try_from(urls).ok().unwrap();
        let face = Face { keys, auth: [first, second], app, log: log.unwrap() };
        face.ready().await;
        let daemon = Some(daemon);
        Self { _services: services, face, daemon, redis, accounts, hsmd, _folder: folder }
    }

    pub(crate) fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("a daemon that runs")
    }
}

impl Face {
    /// Waits until all of it is ready.
    pub(crate) async fn ready(&self) {
        self.log.ready().await.unwrap();
        for service in [&self.keys, &self.auth[0], &self.auth[1], &self.app] {
            let look = async || (service.get("/ready").await.0 == 200).then_some(());
            until(&format!("{} is ready", service.url), look).await;
        }
    }
}

/// Starts a service and waits until it listens.
async fn start(folder: &Path, name: &str, config: &str) -> (Child, Http) {
    let file = tempfile::Builder::new().prefix(name).tempfile_in(folder).unwrap();
    let (_, config_file) = file.keep().unwrap();
    std::fs::write(&config_file, config).unwrap();
    let log = config_file.with_extension("log");
    let process = Command::new(program(&format!("hsmd-{name}")))
        .arg("--config")
        .arg(&config_file)
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let address = until(&format!("{name} listens"), async || {
        let text = std::fs::read_to_string(&log).unwrap();
        let (address, _) = text.split_once("listening address=")?.1.split_once('\n')?;
        Some(address.to_owned())
    })
    .await;
    (process, Http::new(&format!("http://{address}")))
}
