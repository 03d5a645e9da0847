//! Names with several addresses, of which the first drops all packets: whoever connects by name gets to the
//! one that answers.

use hsmd_tests::{
    ANSWERS, Database, Hsmd, OwnNetwork, RedisServer, RunningService, TWO_ADDRESSES, program,
    until, write_private,
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
    let words = lossy.network.enter();
    let mut migrate = Command::new(&words[0]);
    migrate.args(&words[1..]).arg(program("hsmd-accounts"));
    let migrated = migrate.args(["--config", &config, "migrate"]).output().await.unwrap();
    assert!(migrated.status.success(), "{migrated:?}");
    let said = String::from_utf8(migrated.stdout).unwrap();
    assert_eq!(said, format!("the tables at {TWO_ADDRESSES}:5432 are up to date\n"));
}
