//! `hsmd-device` among the services: whom it believes, by the key log that the keys service shows.

use std::path::Path;

use hsmd_chain::testing::LogBuilder;
use hsmd_tests::{Hsmd, Output, Published, program};
use tempfile::TempDir;
use tokio::process::Command;

use crate::fleet::stack::Fleet;

/// A person's device, and the servers that it is told of.
struct Phone {
    folder: TempDir,
    auth: String,
    app: String,
    keys: String,
    identity: String,
}

impl Phone {
    async fn of(fleet: &Fleet) -> Self {
        let face = &fleet.face;
        Self {
            folder: tempfile::tempdir().unwrap(),
            auth: face.auth[0].url.clone(),
            app: face.app.url.clone(),
            keys: face.keys.url.clone(),
            identity: fleet.daemon().log().await.identity().to_string(),
        }
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let state = self.folder.path().join("phone.json");
        let mut command = Command::new(program("hsmd-device"));
        command.arg("--state").arg(state).args(arguments);
        command.env("HSMD_AUTH_URL", &self.auth).env("HSMD_APP_URL", &self.app);
        command.env("HSMD_KEYS_URL", &self.keys).env("HSMD_HSM_IDENTITY", &self.identity);
        Output::of(&mut command).await
    }

    async fn signs_up(&self) {
        let recovery = self.folder.path().join("recovery.json");
        self.run(&["create", "--recovery", text(&recovery)]).await.good();
        self.run(&["session"]).await.good();
        assert!(self.run(&["access"]).await.good().contains("wasFoo"));
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn a_device_believes_the_log_of_its_identity_and_no_other() {
    let mut fleet = Fleet::start().await;
    let mut phone = Phone::of(&fleet).await;
    phone.signs_up().await;

    // Another identity, and an older log, which no key states to be the newest.
    let (keys, identity) = (phone.keys.clone(), phone.identity.clone());
    let other = Hsmd::initialised().await;
    phone.identity = other.history().await.identity().to_string();
    phone.run(&["access"]).await.refused("the HSM's key log does not verify");
    phone.identity = identity;
    let seen = fleet.daemon().log().await;
    fleet.daemon().rotate_head().await;
    fleet.endorsed().await;
    phone.run(&["access"]).await.good();
    let old = Published::start(&LogBuilder::of_length("old", 1)).await;
    *old.keys.text.lock() = seen.to_json();
    phone.keys = old.url();
    phone.run(&["access"]).await.refused("does not show that its log is fresh");

    // Without a keys service there is nothing to believe.
    phone.keys = "http://127.0.0.1:1".to_owned();
    phone.run(&["access"]).await.refused("no key log from http://127.0.0.1:1/hsm/keys");
    phone.keys = "ftp://127.0.0.1".to_owned();
    phone.run(&["access"]).await.refused("the keys service's URL is malformed");

    phone.keys = keys;
    fleet.daemon().taint_head().await;
    fleet.endorsed().await;
    phone.run(&["refresh"]).await.good();
    phone.run(&["access"]).await.good();
    fleet.daemon.take().unwrap().stop().await;
}
