//! The whole fleet, in processes, for one test.

use std::time::Duration;

use hsmd_chain::{Digest, PublicKey, SignedPayload};
use hsmd_client::{Client, ConnectOptions, LogOptions, LogSource, VerifiedLog};
use hsmd_tests::{Daemon, Database, Hsmd, RedisServer, RunningService, until};
use serde_json::Value;
use tempfile::TempDir;

use crate::fleet::user::Http;

/// Everything that runs. The services end first.
pub(crate) struct Fleet {
    _services: Vec<RunningService>,
    /// Where users find it.
    pub(crate) face: Face,
    /// `None` while it is down.
    pub(crate) daemon: Option<Daemon>,
    pub(crate) redis: RedisServer,
    /// Auth's database.
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
        Self::over(Database::create().await, Database::create().await).await
    }

    /// The same over databases that the test may want to stop: hsmd's and auth's.
    pub(crate) async fn over(key_log: Database, accounts: Database) -> Self {
        let hsmd = Hsmd::fresh().await.with_database(key_log);
        let hsmd = hsmd.set("caller.0.endorse", vec!["access", "response"]);
        let socket = format!("endpoint = \"unix://{}\"", hsmd.path("service.sock").display());
        Self::of(hsmd, accounts, &socket).await
    }

    /// The same with an hsmd that the services reach as these settings of `[hsm]` say.
    pub(crate) async fn of(hsmd: Hsmd, accounts: Database, way: &str) -> Self {
        hsmd.migrate().await;
        let identity = hsmd.init().await;
        let daemon = hsmd.serve().await;
        let redis = RedisServer::start().await.unwrap();

        let endpoint = format!("unix://{}", hsmd.path("service.sock").display());
        let source = LogSource::Grpc(Client::connect(&ConnectOptions::new(&endpoint)).unwrap());
        let log = VerifiedLog::follow(source, identity.parse().unwrap(), LogOptions::default());

        let folder = tempfile::tempdir().unwrap();
        let common = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n[hsm]\nidentity = \"{identity}\"\n{way}\n\
             [redis]\nurl = \"{}\"\ntimeout = \"5s\"\n",
            redis.url()
        );
        let url_file = folder.path().join("accounts.url");
        hsmd_tests::write_private(&url_file, &accounts.owner_url());
        let auth = format!(
            "{common}[database]\nurl_file = \"{}\"\n[limits]\nrequests_per_second = 0\n\
             requests_per_second_per_address = 0\nchallenges_per_minute = 0\n",
            url_file.display()
        );
        // Short, since after a flush nothing is answered for as long.
        let app = format!("{common}[access]\nclock_skew = \"500ms\"\n");
        let mut services = Vec::new();
        let mut urls = Vec::new();
        for (name, config) in [("keys", &common), ("auth", &auth), ("auth", &auth), ("app", &app)] {
            let service = RunningService::start(name, folder.path(), config).await;
            urls.push(Http::new(&service.url));
            services.push(service);
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

    /// Waits until each key that the services sign with is published with an endorsement by the head.
    pub(crate) async fn endorsed(&self) {
        let head = self.daemon().head().await.event().id();
        let store = self.redis.store().unwrap();
        let [first, second] = &self.face.auth;
        until("each key is endorsed by the head", async || {
            for service in [first, second, &self.face.app] {
                let (_, health) = service.get("/health").await;
                let health: Value = serde_json::from_slice(&health).ok()?;
                let key = health["responseKey"].as_str()?.parse().unwrap();
                let text = store.response_endorsements.find(&key).await.ok()??;
                self.face.holds(&text, "response", &key, &head).then_some(())?;
                // App has none.
                if let Some(key) = health["accessKey"].as_str() {
                    let key = key.parse().unwrap();
                    let text = store.access_endorsements.find(&key).await.ok()??;
                    self.face.holds(&text, "access", &key, &head).then_some(())?;
                }
            }
            Some(())
        })
        .await;
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

    /// Whether a published text endorses this key, by the head.
    fn holds(&self, text: &[u8], purpose: &str, key: &PublicKey, head: &Digest) -> bool {
        let signed = SignedPayload::parse(text).unwrap();
        let verified = self.log.check_endorsement(&signed, purpose, key, Duration::ZERO);
        verified.is_ok_and(|verified| verified.generation_id() == *head)
    }
}
