//! The device on the command line walks the protocol, also where replies get lost.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use hsmd_tests::{program, wait_for};
use serde_json::Value;

use crate::{
    lossy::LossyProxy,
    stack::{Service, Stack},
};

/// A person's device and the services it talks to.
struct Device<'a> {
    stack: &'a Stack,
    state: PathBuf,
    auth_url: String,
    keys_url: String,
}

impl<'a> Device<'a> {
    fn new(stack: &'a Stack, name: &str, auth_url: &str, keys: &Service) -> Self {
        let (auth_url, keys_url) = (auth_url.to_owned(), keys.http.url.clone());
        Self { stack, state: stack.path(name), auth_url, keys_url }
    }

    fn try_run(&self, arguments: &[&str], identity: &str) -> Result<String, String> {
        let output = Command::new(program("hsmd-device"))
            .env("HSMD_AUTH_URL", &self.auth_url)
            .env("HSMD_KEYS_URL", &self.keys_url)
            .env("HSMD_HSM_IDENTITY", identity)
            .arg("--state")
            .arg(&self.state)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("hsmd-device starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text").trim_end().to_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    fn run(&self, arguments: &[&str]) -> String {
        let outcome = self.try_run(arguments, &self.stack.hsm.identity);
        outcome.unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.run(arguments)).expect("JSON")
    }

    fn refused(&self, arguments: &[&str], with: &str) {
        let error = self.try_run(arguments, &self.stack.hsm.identity).expect_err("refused");
        assert!(error.contains(with), "{arguments:?}: {error}");
    }

    fn file(&self, name: &str) -> String {
        self.stack.path(name).display().to_string()
    }
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().expect(member)
}

#[test]
fn a_device_walks_the_protocol() {
    let stack = Stack::start();
    let (auth, keys) = (stack.auth(), stack.keys());
    let url = auth.http.url.clone();
    let phone = Device::new(&stack, "phone", &url, &keys);
    let (recovery, next) = (phone.file("recovery"), phone.file("recovery-2"));

    let created = phone.json(&["create", "--recovery", &recovery]);
    let identity = text(&created, "identity");
    let rotated = phone.json(&["rotate"]);
    assert_ne!(rotated["publicKey"], created["publicKey"]);
    phone.refused(&["refresh"], "there is no session");
    phone.run(&["session"]);
    let first = phone.json(&["show"]);
    let second = phone.json(&["refresh"]);
    assert_eq!(first["session"]["refreshExpiry"], second["session"]["refreshExpiry"]);
    let app = stack.app();
    let access = ["access", "--app", &app.http.url];
    let response = phone.run(&access);
    assert_eq!(response, r#"{"wasFoo":"bar","wasBar":"foo","serverName":"rust"}"#);

    let tablet = Device::new(&stack, "tablet", &url, &keys);
    let container = tablet.run(&["link-container", "--identity", identity]);
    phone.run(&["link", &container]);
    phone.refused(&["link", &container], "409");
    tablet.run(&["session"]);
    tablet.run(&["rotate"]);
    tablet.run(&["unlink", text(&created, "device")]);
    phone.refused(&["refresh"], "403");
    phone.refused(&["rotate"], "403");
    phone.refused(&access, "device revoked");
    tablet.run(&["refresh"]);
    tablet.run(&access);

    tablet.run(&["change-recovery", "--new-recovery", &next]);
    let laptop = Device::new(&stack, "laptop", &url, &keys);
    let last = laptop.file("recovery-3");
    let recover = |recovery| {
        ["recover", "--identity", identity, "--recovery", recovery, "--new-recovery", &last]
    };
    laptop.refused(&recover(&recovery), "401");
    laptop.run(&recover(&next));
    tablet.refused(&["session"], "403");
    tablet.refused(&access, "device revoked");
    laptop.run(&["session"]);
    laptop.run(&["unlink"]);
    laptop.refused(&["session"], "403");

    let other = Device::new(&stack, "other", &url, &keys);
    other.run(&["create", "--recovery", &other.file("recovery-4")]);
    other.run(&["session"]);
    other.run(&access);
    other.run(&["delete"]);
    other.refused(&access, "device revoked");
    other.refused(&["session"], "401");
}

#[test]
fn a_lost_reply_loses_no_account() {
    let stack = Stack::start();
    let (auth, keys) = (stack.auth(), stack.keys());
    let proxy = LossyProxy::start(&auth.http.url);
    let phone = Device::new(&stack, "phone", &proxy.url(), &keys);
    let recovery = phone.file("recovery");
    let lose = |route: &str, arguments: &[&str]| {
        proxy.lose(route);
        phone.refused(arguments, "run the command again");
        assert!(proxy.lost(), "{route} was asked for");
    };

    let create = ["create", "--recovery", recovery.as_str()];
    lose("/account/create", &create);
    phone.run(&create);
    phone.run(&["rotate"]);

    // Lost twice in a row, and then whatever comes next finds out.
    lose("/device/rotate", &["rotate"]);
    lose("/device/rotate", &["rotate"]);
    phone.run(&["rotate"]);
    lose("/device/rotate", &["rotate"]);
    phone.run(&["session"]);
    phone.run(&["rotate"]);
    lose("/session/create", &["session"]);
    phone.run(&["session"]);
    lose("/session/refresh", &["refresh"]);
    phone.refused(&["refresh"], "BA104");
    phone.run(&["session"]);
    phone.run(&["refresh"]);

    let identity = phone.json(&["show"])["identity"].as_str().expect("text").to_owned();
    let laptop = Device { state: stack.path("laptop"), ..phone };
    let next = laptop.file("recovery-2");
    let recover =
        ["recover", "--identity", &identity, "--recovery", &recovery, "--new-recovery", &next];
    proxy.lose("/account/recover");
    laptop.refused(&recover, "run the command again");
    laptop.run(&recover);
    laptop.run(&["rotate"]);
}

#[test]
fn a_device_believes_nobody_whom_its_hsm_does_not_endorse() {
    let stack = Stack::start();
    let (auth, keys) = (stack.auth(), stack.keys());
    let phone = Device::new(&stack, "phone", &auth.http.url, &keys);
    let recovery = phone.file("recovery");
    let create = ["create", "--recovery", recovery.as_str()];
    // Another HSM's identity: of the right form, but not the one that everything here is endorsed by.
    let foreign = "EK62QNCH2vdPKOVxJNo4CW3EGgzgBukhFAQ-JM8iG033";
    let error = phone.try_run(&create, foreign).expect_err("not our HSM");
    assert!(error.contains("the HSM's key log does not verify"), "{error}");

    // The account was created all the same: the keys are kept, and the next run finds out.
    phone.run(&create);
    stack.taint();
    wait_for("a session after the taint", || phone.try_run(&["session"], &stack.hsm.identity).ok());
    // The head that was seen is remembered: a log without it is a rollback.
    let state = std::fs::read_to_string(&phone.state).expect("the state");
    assert!(state.contains(&format!("{}@1:", stack.hsm.identity)), "the head after the taint");
    let elsewhere = state.replace("@1:", "@7:");
    std::fs::write(&phone.state, elsewhere).expect("written");
    phone.refused(&["session"], "has lost an event that this device has seen");
}
