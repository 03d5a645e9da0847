//! Only the right callers, and a pleasure to operate: certificates, policy, limits, records, secrets
//! and measurements, on real processes and sockets.

mod admin_tls;
mod audit;
mod cli;
mod descriptors;
mod errors;
mod fair;
pub(crate) mod hostile;
mod http;
mod listeners;
mod log_lines;
pub(crate) mod observe;
pub(crate) mod pki;
mod policy;
mod privileged;
mod rate;
mod records;
mod reflection;
pub(crate) mod remote;
mod secrets;
mod signatures;
mod tls;
mod tls_reload;
mod traces;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use hsmd_chain::testing::SoftwareKey;
use hsmd_tests::{Daemon, Hsmd, Refusal, Rpc, until};
use nix::sys::signal::Signal;
use tonic::Code;

use crate::DOCUMENT;
use crate::operation::pki::{Authority, Credentials, SERVER};
use crate::operation::remote::Dial;

const HOUR: Duration = Duration::from_secs(3600);

/// The harness's own caller and admin, who may do everything, and more callers beside.
pub(crate) fn with_callers(hsmd: Hsmd, more: &str) -> Hsmd {
    let uid = nix::unistd::getuid();
    let text = format!(
        r#"
        [[caller]]
        name = "tester"
        uid = {uid}
        endorse = ["access", "response"]
        sign = ["document", "other"]
        max_ttl = "24h"
        read_log = true
        {more}
        "#
    );
    let table: toml::Table = text.parse().unwrap();
    hsmd.set("caller", table["caller"].clone())
}

/// A free port on an address that no other test of this machine uses.
pub(crate) fn address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [high, low] = ((std::process::id() % 60_000) as u16).to_be_bytes();
    let ip = Ipv4Addr::new(127, high.saturating_add(1), low, NEXT.fetch_add(1, Ordering::Relaxed));
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}

/// The authorities of a daemon that listens with mutual TLS.
pub(crate) struct Tls {
    pub(crate) address: SocketAddr,
    pub(crate) servers: Authority,
    pub(crate) clients: Authority,
}

impl Tls {
    /// Makes authorities and lets the daemon listen.
    pub(crate) fn of(hsmd: Hsmd) -> (Hsmd, Self) {
        let servers = Authority::new("servers");
        let tls = Self { address: address(), servers, clients: Authority::new("callers") };
        pki::Files(&hsmd).write(&tls.server(), &tls.clients.pem);
        let hsmd = hsmd
            .set("listen.tls.address", tls.address.to_string())
            .set("listen.tls.certificate", "@/tls.crt")
            .set("listen.tls.key", "@/tls.key")
            .set("listen.tls.client_ca", "@/ca.crt");
        (hsmd, tls)
    }

    fn server(&self) -> Credentials {
        self.servers.issue(&[SERVER])
    }

    /// Calls with a certificate of these names.
    fn dial(&self, names: &[&str]) -> Dial {
        self.dial_with(&self.clients.issue(names))
    }

    fn dial_with(&self, credentials: &Credentials) -> Dial {
        Dial::tls(self.address, self.servers.client(Some(credentials)))
    }
}

/// Lets the daemon listen without TLS as the caller "anybody", who is to be configured.
fn with_plaintext(hsmd: Hsmd) -> (Hsmd, Dial) {
    let address = address();
    let hsmd = hsmd
        .set("listen.plaintext.address", address.to_string())
        .set("listen.plaintext.caller", "anybody")
        .set("listen.plaintext.anybody_on_this_machine_may_call", true);
    (hsmd, Dial::plaintext(address))
}

/// Edits the configuration file under a running daemon and tells it, and waits for its answer.
async fn reload(hsmd: &Hsmd, daemon: &Daemon, edit: impl FnOnce(&mut toml::Table)) {
    let path = hsmd.path("hsmd.toml");
    let mut table: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    edit(&mut table);
    std::fs::write(path, table.to_string()).unwrap();
    hang_up(daemon, "the policy is reloaded").await;
}

/// Sends SIGHUP and waits until the daemon says this once more than before.
async fn hang_up(daemon: &Daemon, answer: &str) {
    let said = |daemon: &Daemon| daemon.log_text().matches(answer).count();
    let before = said(daemon);
    daemon.signal(Signal::SIGHUP);
    until(answer, async || (said(daemon) > before).then_some(())).await;
}

fn service_key() -> String {
    SoftwareKey::from_seed("a service").public_key().as_str().to_owned()
}

/// Whether a caller can call at all, by the read that most may make.
async fn head(rpc: &Rpc) -> Result<(), Refusal> {
    let request = hsmd_proto::v1::GetHeadRequest {};
    rpc.key_log.clone().get_head(request).await.map(drop).map_err(Refusal::from)
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T, Refusal>, code: Code, reason: &str) {
    let refusal = result.expect_err("a refusal");
    assert_eq!((refusal.code, refusal.reason.as_str()), (code, reason), "{refusal:?}");
}
