//! The daemon's TCP listener with mutual TLS, and a connection to it.

use hsmd_tests::Hsmd;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

const SERVER: &str = "hsmd.bench";
const CALLER: &str = "caller.bench";

/// An authority, and what a caller of its needs.
pub(crate) struct Tls {
    authority: String,
    issuer: Issuer<'static, KeyPair>,
    caller: (String, String),
    /// Of a peer that the policy does not name.
    unknown_peer: (String, String),
    address: std::net::SocketAddr,
}

impl Tls {
    /// Lets the daemon listen for a caller who may do what the one on the Unix socket may.
    pub(crate) fn configure(hsmd: Hsmd) -> (Hsmd, Self) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = params.self_signed(&key).expect("an authority").pem();
        let issuer = Issuer::new(params, key);
        let (certificate, key) = issue(&issuer, SERVER);
        hsmd_tests::write_private(&hsmd.path("tls.crt"), &certificate);
        hsmd_tests::write_private(&hsmd.path("tls.key"), &key);
        hsmd_tests::write_private(&hsmd.path("ca.crt"), &authority);
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = free.local_addr().expect("its address");
        let caller = toml::toml! {
            name = "remote"
            san = "caller.bench"
            endorse = ["access"]
            sign = ["document"]
            max_ttl = "24h"
        };
        let hsmd = hsmd
            .set("listen.tls.address", address.to_string())
            .set("listen.tls.certificate", "@/tls.crt")
            .set("listen.tls.key", "@/tls.key")
            .set("listen.tls.client_ca", "@/ca.crt")
            .push("caller", caller);
        let (caller, unknown_peer) = (issue(&issuer, CALLER), issue(&issuer, "unknown.bench"));
        (hsmd, Self { authority, issuer, caller, unknown_peer, address })
    }

    /// Adds so many callers, each with a certificate of its own, and says how each connects.
    pub(crate) fn add_callers(&self, mut hsmd: Hsmd, count: usize) -> (Hsmd, Vec<Endpoint>) {
        let mut endpoints = Vec::new();
        for number in 0..count {
            let san = format!("{number}.{CALLER}");
            endpoints.push(self.endpoint(&issue(&self.issuer, &san)));
            let mut caller = toml::toml! {
                endorse = ["access"]
                read_log = true
                max_ttl = "24h"
            };
            caller.insert("name".into(), format!("caller-{number}").into());
            caller.insert("san".into(), san.into());
            hsmd = hsmd.push("caller", caller);
        }
        (hsmd, endpoints)
    }

    /// A connection as that caller.
    pub(crate) async fn connect(&self) -> Channel {
        self.endpoint(&self.caller).connect().await.expect("a connection to hsmd")
    }

    /// How an unknown peer connects, who may be turned away.
    pub(crate) fn unknown_peer(&self) -> Endpoint {
        self.endpoint(&self.unknown_peer)
    }

    fn endpoint(&self, (certificate, key): &(String, String)) -> Endpoint {
        let config = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.authority))
            .identity(Identity::from_pem(certificate, key))
            .domain_name(SERVER);
        Endpoint::from_shared(format!("https://{}", self.address))
            .and_then(|endpoint| endpoint.tls_config(config))
            .expect("an endpoint")
    }
}

/// A certificate for a name, and its key.
fn issue(issuer: &Issuer<'static, KeyPair>, name: &str) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new([name.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, issuer).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}
