//! Names with several addresses, of which the first drops all packets: whoever connects by name gets to the
//! one that answers.

use std::net::{Ipv4Addr, TcpListener};

use hsmd_chain::testing::LogBuilder;
use hsmd_tests::{
    ANSWERS, Database, Hsmd, OwnNetwork, Published, RedisServer, RunningService, TWO_ADDRESSES,
    TWO_OF_IPV4, carry, program, until, write_private,
};
use tokio::process::{Child, Command};

use crate::operation::pki::{Authority, Files};

/// A name whose first address drops all packets, and a Postgres at the other one.
struct Lossy {
    network: OwnNetwork,
    _postgres: Child,
}

impl Lossy {
    async fn before(database: &Database) -> Self {
        let network = OwnNetwork::make().await;
        let socket = database.socket_folder().join(".s.PGSQL.5432");
        let postgres = network.carry(&format!("{ANSWERS}:5432"), &socket).await;
        Self { network, _postgres: postgres }
    }
}

/// The URL by the name, of one by the socket.
fn by_name(url: &str) -> String {
    let (before, _) = url.split_once("?host=").unwrap();
    before.replace("@/", &format!("@{TWO_ADDRESSES}:5432/"))
}

#[tokio::test]
async fn hsmd_and_its_callers_get_to_the_address_that_answers() {
    let hsmd = Hsmd::initialised().await;
    let lossy = Lossy::before(&hsmd.database).await;
    let url = hsmd.path("by-name.url");
    write_private(&url, &by_name(&hsmd.database.writer_url()));
    let (servers, clients) = (Authority::new("servers"), Authority::new("callers"));
    Files(&hsmd).write(&servers.issue(&[TWO_ADDRESSES]), &clients.pem);
    let caller = clients.issue(&["caller.example.org"]);
    write_private(&hsmd.path("caller.crt"), &caller.certificate);
    write_private(&hsmd.path("caller.key"), &caller.key);
    write_private(&hsmd.path("servers.crt"), &servers.pem);
    let reader = toml::toml! {
        name = "reader"
        san = "caller.example.org"
        read_log = true
    };
    let hsmd = hsmd
        .set("database.writer_url_file", url.display().to_string())
        .set("listen.tls.address", format!("{ANSWERS}:11111"))
        .set("listen.tls.certificate", "@/tls.crt")
        .set("listen.tls.key", "@/tls.key")
        .set("listen.tls.client_ca", "@/ca.crt")
        .push("caller", reader)
        .within(&lossy.network);
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;

    let words = lossy.network.enter();
    let mut hsmctl = Command::new(&words[0]);
    hsmctl.args(&words[1..]).arg(program("hsmctl"));
    hsmctl.args(["--endpoint", &format!("https://{TWO_ADDRESSES}:11111")]);
    let files =
        [("--ca-file", "servers.crt"), ("--cert-file", "caller.crt"), ("--key-file", "caller.key")];
    for (flag, file) in files {
        hsmctl.arg(flag).arg(hsmd.path(file));
    }
    let identity = hsmctl.arg("identity").output().await.unwrap();
    assert!(identity.status.success(), "{identity:?}");
    let expected = daemon.log().await.identity().to_string();
    assert_eq!(String::from_utf8(identity.stdout).unwrap().trim_end(), expected);
}

#[tokio::test]
async fn the_services_pools_get_to_the_address_that_answers() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    let identity = daemon.log().await.identity().to_string();
    let (auth, accounts) = tokio::join!(Database::create(), Database::create());
    // Both are in the Postgres that all tests of this binary share.
    let lossy = Lossy::before(&auth).await;
    let redis = RedisServer::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        write_private(&path, text);
        path.display().to_string()
    };
    let service = hsmd.path("service.sock");
    let hsm =
        format!("[hsm]\nidentity = \"{identity}\"\nendpoint = \"unix://{}\"\n", service.display());
    let url = file("auth.url", &by_name(&auth.owner_url()));
    let config = format!(
        "[http]\nlisten = \"127.0.0.1:0\"\n{hsm}[redis]\nurl = \"{}\"\n\
         [database]\nurl_file = \"{url}\"\n",
        redis.url()
    );
    let running =
        RunningService::start_within(&lossy.network, "auth", folder.path(), &config).await;
    until(&format!("auth makes its tables: {}", running.log()), async || {
        let tables = "SELECT count(*) FROM pg_tables WHERE tablename = 'accounts'";
        (auth.value(tables).await == "1").then_some(())
    })
    .await;

    let url = file("accounts.url", &by_name(&accounts.owner_url()));
    let config = format!(
        "[http]\nlisten = \"127.0.0.1:0\"\n[site]\npublic_url = \"https://accounts.example.org\"\n\
         {hsm}[database]\nurl_file = \"{url}\"\n"
    );
    let config = file("accounts.toml", &config);
    let migrate = ["--config", &config, "migrate"];
    let said = succeeds(&lossy.network, "hsmd-accounts", &migrate).await;
    assert_eq!(said, format!("the tables at {TWO_ADDRESSES}:5432 are up to date\n"));

    // The library's own tables, in the other database.
    auth.execute(true, LIBRARY).await.unwrap();
    let from = file("library.url", &by_name(&auth.owner_url()));
    let import = ["--config", &config, "import", "--from", &from];
    let said = succeeds(&lossy.network, "hsmd-accounts", &import).await;
    assert!(said.contains("would import 0 users"), "{said}");
}

/// The tables from which `hsmd-accounts import` reads.
const LIBRARY: &str = r#"
    CREATE TABLE "user" ("id" text, "name" text, "email" text, "emailVerified" boolean, "image" text,
      "createdAt" timestamptz, "updatedAt" timestamptz);
    CREATE TABLE "account" ("userId" text, "providerId" text, "password" text);
"#;

/// What a program prints in this network, where it must succeed.
async fn succeeds(network: &OwnNetwork, name: &str, arguments: &[&str]) -> String {
    let words = network.enter();
    let mut command = Command::new(&words[0]);
    let output = command.args(&words[1..]).arg(program(name)).args(arguments).output().await;
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_services_get_to_the_address_at_which_redis_answers() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    let identity = daemon.log().await.identity().to_string();
    let network = OwnNetwork::make().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);

    let plain = RedisServer::start().await.unwrap();
    let _plain = network.carry(&format!("{ANSWERS}:6379"), &plain.socket()).await;

    let authority = Authority::new("redis");
    let credentials = authority.issue(&[TWO_ADDRESSES]);
    write_private(&path("redis.crt"), &credentials.certificate);
    write_private(&path("redis.key"), &credentials.key);
    write_private(&path("ca.crt"), &authority.pem);
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let text = |name| path(name).display().to_string();
    let secure = [
        ("--tls-port", port.clone()),
        ("--tls-cert-file", text("redis.crt")),
        ("--tls-key-file", text("redis.key")),
        ("--tls-ca-cert-file", text("ca.crt")),
        ("--tls-auth-clients", "no".to_owned()),
    ];
    let secure: Vec<_> =
        secure.into_iter().flat_map(|(name, value)| [name.into(), value]).collect();
    let _secure = RedisServer::start_with(&secure).await.unwrap();
    let _out = carry(&path("redis.sock"), &format!("127.0.0.1:{port}")).await;
    let _in = network.carry(&format!("{ANSWERS}:6380"), &path("redis.sock")).await;

    let tls = format!("[redis.tls]\nca_file = \"{}\"\n", text("ca.crt"));
    for (url, more) in [
        (format!("redis://{TWO_ADDRESSES}:6379"), ""),
        (format!("rediss://{TWO_ADDRESSES}:6380"), &*tls),
    ] {
        let config = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n\
             [hsm]\nidentity = \"{identity}\"\nendpoint = \"unix://{}\"\n\
             [redis]\nurl = \"{url}\"\ntimeout = \"20s\"\n{more}",
            hsmd.path("service.sock").display()
        );
        write_private(&path("keys.toml"), &config);
        let said =
            succeeds(&network, "hsmd-keys", &["check", "--config", &text("keys.toml")]).await;
        assert!(said.contains(&format!("{url} answers and takes writes")), "{said}");
    }
}

/// Of two addresses of one family the first has its time, and then the next one is tried.
#[tokio::test]
async fn a_reader_of_the_log_over_http_gets_to_the_address_that_answers() {
    let log = LogBuilder::of_length("names", 2);
    let published = Published::start(&log).await;
    let network = OwnNetwork::make().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let address = published.url();
    let _out = carry(&path("log.sock"), address.trim_start_matches("http://")).await;
    let _in = network.carry(&format!("{ANSWERS}:8010"), &path("log.sock")).await;
    let redis = RedisServer::start().await.unwrap();
    for name in [TWO_ADDRESSES, TWO_OF_IPV4] {
        let config = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n\
             [hsm]\nidentity = \"{}\"\nlog_url = \"http://{name}:8010\"\n\
             [redis]\nurl = \"{}\"\n",
            log.identity(),
            redis.url()
        );
        write_private(&path("keys.toml"), &config);
        let file = path("keys.toml").display().to_string();
        let said = succeeds(&network, "hsmd-keys", &["check", "--config", &file]).await;
        assert!(said.contains("verified, the head is"), "{name}: {said}");
    }
}
