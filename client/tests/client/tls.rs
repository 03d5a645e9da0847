//! Mutual TLS: who is admitted, what a refusal says, and certificates that are renewed.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hsmd_chain::testing::LogBuilder;
use hsmd_client::{
    CallError, Client, Clock, ConnectOptions, LogOptions, LogSource, TlsOptions, VerifiedLog,
};
use hsmd_tests::peer::{State, services};
use hsmd_tests::{soon, until};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

/// An authority and what it issues.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

/// A certificate and its key, in PEM.
struct Credentials {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: rcgen::Issuer::new(params, key), pem }
    }

    fn issue(&self, name: &str) -> Credentials {
        self.issue_for(name, 3600)
    }

    /// Valid for so many seconds from now.
    fn issue_for(&self, name: &str, seconds: i64) -> Credentials {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).expect("a name");
        params.not_after = at(now() + seconds);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Credentials { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

fn now() -> i64 {
    Clock::system().now().unix_millis() / 1000
}

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).expect("a time")
}

/// Replaces a file in one step, as the tools that renew certificates do.
fn replace(path: &Path, text: &str) {
    let draft = path.with_extension("draft");
    fs::write(&draft, text).expect("written");
    fs::set_permissions(&draft, Permissions::from_mode(0o600)).expect("a mode");
    fs::rename(draft, path).expect("renamed");
}

/// The files of a caller who trusts an authority for the peer.
fn files(folder: &Path, own: &Credentials, trusted: &Authority, server: &str) -> TlsOptions {
    let tls = TlsOptions {
        ca_file: folder.join("ca.pem"),
        certificate_file: folder.join("cert.pem"),
        key_file: folder.join("key.pem"),
        server_name: Some(server.to_owned()),
    };
    replace(&tls.ca_file, &trusted.pem);
    replace(&tls.certificate_file, &own.certificate);
    replace(&tls.key_file, &own.key);
    tls
}

/// A peer that admits the callers of an authority.
struct TlsPeer {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl TlsPeer {
    /// Connections end after `age`.
    async fn start(authority: &Authority, age: Duration) -> Self {
        let Credentials { certificate, key } = authority.issue("hsm.test");
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(certificate, key))
            .client_ca_root(Certificate::from_pem(&authority.pem));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State::new(LogBuilder::new("tls")));
        let server = Server::builder().max_connection_age(age).tls_config(tls);
        let server = services(server.expect("a configuration"), &state);
        let incoming = TcpListenerStream::new(listener);
        let task = tokio::spawn(async move {
            server.serve_with_incoming(incoming).await.expect("serves");
        });
        Self { address, state, task }
    }

    fn options(&self, tls: TlsOptions) -> ConnectOptions {
        ConnectOptions::new(format!("https://{}", self.address)).tls(tls)
    }
}

impl Drop for TlsPeer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn only_whom_both_sides_trust_is_admitted_and_a_refusal_names_the_alert_and_the_peer() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let peer = TlsPeer::start(&ours, Duration::from_secs(3600)).await;
    let head = async |caller: &Credentials, trusted: &Authority, name: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let tls = files(folder.path(), caller, trusted, name);
        let options = peer.options(tls).retry(false);
        soon(Client::connect(&options).expect("a client").head()).await
    };
    let good = ours.issue("caller.test");
    head(&good, &ours, "hsm.test").await.expect("admitted");
    let cases = [
        (foreign.issue("caller.test"), &ours, "hsm.test", "fatal alert"),
        (ours.issue_for("caller.test", -5), &ours, "hsm.test", "fatal alert: CertificateExpired"),
        (ours.issue("caller.test"), &foreign, "hsm.test", "invalid peer certificate"),
        (ours.issue("caller.test"), &ours, "other.test", "not valid for name"),
    ];
    for (caller, trusted, name, expected) in cases {
        let failed = head(&caller, trusted, name).await.expect_err("refused");
        assert!(matches!(failed, CallError::Connection { .. }), "{failed:?}");
        let text = hsmd_support::chain(&failed);
        assert!(text.contains(expected), "{text}");
        assert!(text.contains(&format!("TLS with {}", peer.address)), "{text}");
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_used_and_the_old_ones_end_no_longer_matters() {
    let authority = Authority::new();
    // A new connection for nearly each call.
    let peer = TlsPeer::start(&authority, Duration::from_millis(20)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let old = authority.issue_for("old.test", 10);
    let end_of_old = now() + 10;
    let tls = files(folder.path(), &old, &authority, "hsm.test");
    let client = Client::connect(&peer.options(tls.clone())).expect("a client");

    // No call fails, from before the renewal until after the old certificate's end.
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let calls = tokio::spawn(async move {
        let mut stopped = stopped;
        while stopped.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty) {
            client.head().await.expect("no call fails");
        }
    });
    let seen = |certificate: &Credentials| {
        let state = Arc::clone(&peer.state);
        let expected = der(&certificate.certificate);
        move || state.callers.lock().contains(&expected)
    };
    until("the old certificate is used", async || seen(&old)()).await;

    // First the key, then the certificate: in between they do not fit together.
    let new = authority.issue("new.test");
    replace(&tls.key_file, &new.key);
    peer.state.callers.lock().clear();
    until("the old certificate is used", async || seen(&old)()).await;
    replace(&tls.certificate_file, &new.certificate);
    until("the new certificate is used", async || seen(&new)()).await;

    until("the old certificate has ended", async || now() > end_of_old).await;
    peer.state.callers.lock().clear();
    until("the new certificate is used", async || seen(&new)()).await;
    assert!(!seen(&old)(), "the old certificate is used no more");
    stop.send(()).expect("the calls go on");
    soon(calls).await.expect("no call failed");
}

/// A daemon refuses calls over a connection whose certificate has ended.
#[tokio::test]
async fn a_renewed_certificate_does_not_wait_for_the_end_of_an_open_connection() {
    let authority = Authority::new();
    let peer = TlsPeer::start(&authority, Duration::from_secs(3600)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let [old, new] = ["old.test", "new.test"].map(|name| authority.issue(name));
    let tls = files(folder.path(), &old, &authority, "hsm.test");
    let client = Client::connect(&peer.options(tls.clone())).expect("a client");
    let anchor = peer.state.log.borrow().anchor();
    let source = LogSource::Grpc(client.clone());
    let log = VerifiedLog::follow(source, anchor, LogOptions::default()).expect("a log");
    soon(log.ready()).await.expect("followed over the old connection");

    replace(&tls.key_file, &new.key);
    replace(&tls.certificate_file, &new.certificate);
    until("a call with the new certificate", async || {
        client.head().await.expect("no call fails");
        peer.state.callers.lock().contains(&der(&new.certificate))
    })
    .await;
    peer.state.callers.lock().clear();
    client.head().await.expect("no call fails");
    assert_eq!(*peer.state.callers.lock(), [der(&new.certificate)]);

    // What was begun over the old connection goes on there.
    peer.state.append(false);
    until("the event", async || log.snapshot().is_some_and(|log| log.events().len() == 2)).await;
    assert_eq!(*peer.state.callers.lock(), [der(&new.certificate)], "no other watch");
}

#[tokio::test]
async fn a_key_that_others_may_read_is_refused() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let tls = files(folder.path(), &authority.issue("caller.test"), &authority, "hsm.test");
    let options = ConnectOptions::new("https://127.0.0.1:7").tls(tls.clone());
    Client::connect(&options).expect("a client");
    fs::set_permissions(&tls.key_file, Permissions::from_mode(0o644)).expect("a mode");
    let refused = Client::connect(&options).map(drop).expect_err("refused");
    assert!(refused.to_string().contains("key.pem: mode 644 admits others"), "{refused}");
}

fn der(pem: &str) -> Vec<u8> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM").to_vec()
}
