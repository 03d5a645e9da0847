//! Mail over a real mail server.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use hsmd_tests::{ANSWERS, OwnNetwork, RunningService, TWO_ADDRESSES};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::{
    client::Browser,
    stack::{Replica, Settings, Stack, wait_for},
    tools::{Beside, ended_well, python},
};

const USER: &str = "accounts";
const PASSWORD: &str = "the mail server's";

/// A mail server that wants TLS and a login, its certificate by an authority of its own in a file.
struct Server {
    process: Beside,
    port: String,
    authority: PathBuf,
}

impl Server {
    /// At an address, behind some words that come before the command.
    fn start(stack: &Stack, name: &str, address: &str, before: &[std::ffi::OsString]) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        stack.secret(&format!("{name}-ca.pem"), &params.self_signed(&key).expect("signed").pem());
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &issuer).expect("signed").pem();
        stack.secret("mail.pem", &certificate);
        stack.secret("mail.key", &key.serialize_pem());
        let mut script = python("smtp.py");
        script.arg(address).args([stack.path("mail.pem"), stack.path("mail.key")]);
        script.args([USER, PASSWORD]);
        let process = Beside::start(&mut after(before, &script));
        let port = process.line(0);
        Self { process, port, authority: stack.path(&format!("{name}-ca.pem")) }
    }

    /// `[mail.smtp]` for it, its password in a file that is written.
    fn settings(&self, stack: &Stack, host: &str, password: &str) -> String {
        stack.secret("mail.password", &format!("{password}\n"));
        let (authority, file) = (self.authority.display(), stack.path("mail.password"));
        format!(
            "{}username = \"{USER}\"\npassword_file = \"{}\"\nca_file = \"{authority}\"\n",
            smtp(host, &self.port),
            file.display()
        )
    }

    /// Its mail of this number, when it is there.
    fn mail(&self, number: usize) -> Value {
        serde_json::from_str(&self.process.line(number + 1)).expect("JSON")
    }
}

fn smtp(host: &str, port: &str) -> String {
    format!(
        "[mail.smtp]\nhost = \"{host}\"\nport = {port}\nsecurity = \"starttls\"\n\
         from = \"Example <accounts@example.com>\"\n"
    )
}

/// The same command with words before it.
fn after(before: &[std::ffi::OsString], command: &Command) -> Command {
    let mut words = before
        .iter()
        .map(|word| word.as_os_str())
        .chain([command.get_program()])
        .chain(command.get_args());
    let mut prefixed = Command::new(words.next().expect("a program"));
    prefixed.args(words);
    prefixed
}

fn replica(stack: &Stack, mail: String) -> Replica {
    stack.accounts_with(&Settings { more: mail, ..Settings::default() }).ready()
}

#[test]
fn mail_goes_over_tls_to_a_server_that_wants_a_login() {
    let stack = Stack::start();
    let server = Server::start(&stack, "localhost", "127.0.0.1", &[]);
    let accounts = replica(&stack, server.settings(&stack, "localhost", PASSWORD));
    let http = &accounts.http;
    Browser::sign_up(http, "ann@example.com");
    let asked = json!({"email": "ann@example.com", "redirectTo": "/reset"});
    assert_eq!(http.post("/request-password-reset", &asked).status, 200);
    let mail = server.mail(0);
    assert_eq!((&mail["tls"], &mail["login"]), (&json!(true), &json!(true)));
    assert_eq!(
        (&mail["from"], &mail["to"], &mail["subject"]),
        (
            &json!("accounts@example.com"),
            &json!(["ann@example.com"]),
            &json!("Reset your password")
        )
    );
    let text = mail["text"].as_str().expect("a text");
    let link = text.lines().find_map(|line| line.strip_prefix("http://127.0.0.1:8031"));
    let opened = http.get(link.expect("a link"));
    let token = opened.header("location").rsplit_once("token=").expect("a token").1;
    let reset = json!({"newPassword": "battery staple", "token": token});
    assert_eq!(http.post("/reset-password", &reset).status, 200);
    wait_for("the mail to be counted", || accounts.metric("mails_sent_total") == 1);
    let checked = ended_well(stack.command(&accounts, &["check"]));
    let said = format!("mail: the server at localhost:{} answers\n", server.port);
    assert!(checked.ends_with(&said), "{checked}");
    for secret in [PASSWORD, token] {
        assert!(!accounts.process.log().contains(secret), "{}", accounts.process.log());
    }
}

/// No mail goes where it could be read on the way, and no request shows that one was lost.
#[test]
fn mail_that_cannot_be_sent_safely_is_not_sent() {
    let stack = Stack::start();
    let server = Server::start(&stack, "localhost", "127.0.0.1", &[]);
    let in_clear = Beside::start(python("smtp.py").arg("127.0.0.1"));
    let unknown = format!("{}username = \"{USER}\"\n", smtp("localhost", &server.port));
    let wrong_name = Server::start(&stack, "mail.example.com", "127.0.0.1", &[]);
    let cases = [
        ("an unknown authority", unknown),
        ("another name", wrong_name.settings(&stack, "localhost", PASSWORD)),
        ("a server without TLS", smtp("localhost", &in_clear.line(0))),
        ("a wrong password", server.settings(&stack, "localhost", "another one")),
        ("no server", smtp("localhost", "1")),
    ];
    for (number, (what, mail)) in cases.into_iter().enumerate() {
        let accounts = replica(&stack, mail);
        let email = format!("user-{number}@example.com");
        Browser::sign_up(&accounts.http, &email);
        let answer = accounts.http.post("/request-password-reset", &json!({"email": email}));
        assert_eq!(answer.status, 200, "{what}");
        wait_for(what, || accounts.metric("mails_lost_total") == 1);
        assert_eq!(accounts.metric("mails_sent_total"), 0, "{what}");
        wait_for("the log", || accounts.process.log().contains("mail lost"));
        let log = accounts.process.log();
        assert!(!log.contains(PASSWORD), "{what}: {log}");
        assert!(!log.contains("/reset-password/"), "{what}: no link in the log: {log}");
        let checked = stack.command(&accounts, &["check"]);
        let error = String::from_utf8_lossy(&checked.stderr);
        assert_eq!(checked.status.code(), Some(1), "{what}: {error}");
        assert!(error.contains("the mail server at localhost:"), "{what}: {error}");
    }
    for server in [&server.process, &wrong_name.process, &in_clear] {
        assert_eq!(server.count(), 1, "no mail but the port: {:?}", server.after(0));
    }
}

/// The first address of the server's name drops all packets, the second one answers.
#[test]
fn each_address_of_the_server_gets_its_try() {
    let stack = Stack::start();
    let network = stack.runtime.block_on(OwnNetwork::make());
    let server = Server::start(&stack, TWO_ADDRESSES, ANSWERS, &network.enter());
    let more = server.settings(&stack, TWO_ADDRESSES, PASSWORD);
    let config = stack.config(&Settings { more, ..Settings::default() });
    let folder = tempfile::tempdir().expect("a folder");
    let starting = RunningService::start_within(&network, "accounts", folder.path(), &config);
    let accounts = stack.runtime.block_on(starting);
    let post = |path: &str, body: &Value| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--fail", "--header", "content-type: application/json", "--data"]);
        curl.arg(body.to_string()).arg(format!("{}/api/auth{path}", accounts.url));
        let output = after(&network.enter(), &curl).stdin(Stdio::null()).output();
        output.expect("curl starts")
    };
    let user = json!({"name": "Ann", "email": "ann@example.com", "password": "correct horse"});
    wait_for("the tables", || post("/sign-up/email", &user).status.success());
    ended_well(post("/request-password-reset", &json!({"email": "ann@example.com"})));
    assert_eq!(server.mail(0)["to"], json!(["ann@example.com"]));
}
