//! Redis over TLS: whom we believe, what we show, and files that change.
#![expect(clippy::unwrap_used, reason = "a failed step of a test has to end it")]

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use hsmd_chain::cesr::Digest;
use hsmd_store::{ClientFiles, MirroredLog, Options, Store, StoreError, TlsOptions};
use hsmd_tests::RedisServer;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

type Authority = CertifiedIssuer<'static, KeyPair>;

/// With a subject of its own: OpenSSL takes a certificate whose subject is its issuer's for a root.
fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(name: &str) -> Authority {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes NAME.crt and NAME.key.
fn issue(authority: &Authority, folder: &Path, name: &str) {
    let key = KeyPair::generate().unwrap();
    let certificate = params(name).signed_by(&key, authority).unwrap();
    fs::write(folder.join(format!("{name}.crt")), certificate.pem()).unwrap();
    let file = folder.join(format!("{name}.key"));
    fs::write(&file, key.serialize_pem()).unwrap();
    fs::set_permissions(file, PermissionsExt::from_mode(0o600)).unwrap();
}

/// A Redis with TLS on a port of this machine, which wants a certificate of the same authority.
struct Secure {
    folder: TempDir,
    port: u16,
    authority: Authority,
    _redis: RedisServer,
}

impl Secure {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = authority("redis authority");
        fs::write(folder.path().join("ca.crt"), authority.pem()).unwrap();
        issue(&authority, folder.path(), "localhost");
        issue(&authority, folder.path(), "service");
        let port =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let arguments = [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", path("localhost.crt")),
            ("--tls-key-file", path("localhost.key")),
            ("--tls-ca-cert-file", path("ca.crt")),
        ];
        let arguments: Vec<_> =
            arguments.into_iter().flat_map(|(name, value)| [name.into(), value]).collect();
        let redis = RedisServer::start_with(&arguments).await.unwrap();
        Self { folder, port, authority, _redis: redis }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn tls(&self) -> TlsOptions {
        TlsOptions {
            ca_file: self.path("ca.crt"),
            client: Some(ClientFiles {
                certificate_file: self.path("service.crt"),
                key_file: self.path("service.key"),
            }),
            server_name: None,
        }
    }

    fn open(&self, host: &str, tls: Option<TlsOptions>) -> Result<Store, StoreError> {
        Store::open(&Options {
            url: format!("rediss://{host}:{}", self.port),
            tls,
            username: None,
            password: None,
            timeout: std::time::Duration::from_secs(10),
        })
    }

    fn mirror(&self, tls: TlsOptions) -> MirroredLog {
        self.open("localhost", Some(tls)).unwrap().mirrored_log
    }
}

async fn works(mirror: &MirroredLog) -> Result<(), StoreError> {
    let id = Digest::of(b"x");
    mirror.store(&[(id, "text".into())]).await?;
    assert_eq!(mirror.find(&id).await?.as_deref(), Some(&b"text"[..]));
    Ok(())
}

#[tokio::test]
async fn the_right_authority_and_certificate_are_believed_and_no_others() {
    let secure = Secure::start().await;
    works(&secure.mirror(secure.tls())).await.unwrap();
    let named = TlsOptions { server_name: Some("localhost".into()), ..secure.tls() };
    works(&secure.open("127.0.0.1", Some(named)).unwrap().mirrored_log).await.unwrap();

    let other = authority("another");
    fs::write(secure.path("other.crt"), other.pem()).unwrap();
    let refused = [
        ("another authority", TlsOptions { ca_file: secure.path("other.crt"), ..secure.tls() }),
        ("no certificate", TlsOptions { client: None, ..secure.tls() }),
        ("another name", TlsOptions { server_name: Some("elsewhere".into()), ..secure.tls() }),
    ];
    for (what, tls) in refused {
        let error = works(&secure.mirror(tls)).await.expect_err(what);
        assert!(matches!(error, StoreError::Unreachable { database: 4, .. }), "{what}: {error:?}");
    }
    for (what, tls) in [
        ("no section", None),
        ("no file", Some(TlsOptions { ca_file: secure.path("none"), ..secure.tls() })),
    ] {
        assert!(secure.open("localhost", tls).is_err(), "{what}");
    }
    let plain = Options { url: "redis://localhost".into(), ..options_with(secure.tls()) };
    assert!(matches!(Store::open(&plain), Err(StoreError::Url(_))), "TLS is not left out silently");
}

fn options_with(tls: TlsOptions) -> Options {
    Options {
        url: String::new(),
        tls: Some(tls),
        username: None,
        password: None,
        timeout: std::time::Duration::from_secs(1),
    }
}

#[tokio::test]
async fn renewed_files_are_used_from_the_next_connection_on() {
    let secure = Secure::start().await;
    let other = authority("another");
    fs::write(secure.path("ca.crt"), other.pem()).unwrap();
    let mirror = secure.mirror(secure.tls());
    works(&mirror).await.unwrap_err();
    fs::write(secure.path("ca.crt"), secure.authority.pem()).unwrap();
    works(&mirror).await.unwrap();
}
