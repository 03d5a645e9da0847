//! Services that reach hsmd over mutual TLS, and the renewal of their certificate.

use std::net::SocketAddr;
use std::time::Instant;

use hsmd_tests::{Database, Hsmd, now, until, write_private};

use crate::fleet::faults::only;
use crate::fleet::load::{ALL, under_load};
use crate::fleet::stack::Fleet;
use crate::operation::observe::{observed, value};
use crate::operation::pki::{Credentials, SERVER, in_seconds, replace};
use crate::operation::{Tls, with_callers};

/// How long the certificate lives that is replaced, in seconds.
const SHORT: i64 = 60;

/// One for each certificate, so that the daemon's counters say which of them was used.
const CALLERS: [&str; 3] = ["first", "short", "renewed"];

/// How many keys the services have endorsed: two of each auth, one of app.
const KEYS: f64 = 5.0;

fn callers() -> String {
    let caller = |name| {
        format!(
            "[[caller]]\nname = \"{name}\"\nsan = \"{name}.example.org\"\n\
             endorse = [\"access\", \"response\"]\nmax_ttl = \"24h\"\nread_log = true\n"
        )
    };
    CALLERS.map(caller).concat()
}

/// What a tool that renews certificates does, key first.
fn renew(hsmd: &Hsmd, new: &Credentials) {
    write_private(&hsmd.path("service.key"), &new.key);
    replace(&hsmd.path("service.crt"), &new.certificate);
}

/// How many endorsements the daemon has made for a caller.
async fn endorsed(metrics: SocketAddr, caller: &str) -> f64 {
    let labels = format!("method=\"Endorse\",caller=\"{caller}\",code=\"Ok\"");
    value(metrics, &format!("hsmd_requests_total{{{labels}}}")).await.unwrap_or_default()
}

/// Rotates until each service has had its keys endorsed with this caller's certificate: it looks at the
/// files once a second.
async fn all_call_as(fleet: &Fleet, metrics: SocketAddr, caller: &str) {
    until(&format!("the services call as {caller}"), async || {
        let before = endorsed(metrics, caller).await;
        fleet.daemon().rotate_head().await;
        fleet.endorsed().await;
        (endorsed(metrics, caller).await - before >= KEYS).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_services_certificate_is_renewed_and_no_request_fails() {
    let (hsmd, metrics) = observed(with_callers(Hsmd::fresh().await, &callers()));
    let (hsmd, tls) = Tls::of(hsmd);
    let issue = |name: &str, seconds| {
        tls.clients.issue_until(&[&format!("{name}.example.org")], in_seconds(seconds))
    };
    replace(&hsmd.path("servers.crt"), &tls.servers.pem);
    renew(&hsmd, &issue("first", 3600));
    let way = format!(
        "endpoint = \"https://{}\"\n[hsm.tls]\nca_file = \"{}\"\ncertificate_file = \"{}\"\n\
         key_file = \"{}\"\nserver_name = \"{SERVER}\"",
        tls.address,
        hsmd.path("servers.crt").display(),
        hsmd.path("service.crt").display(),
        hsmd.path("service.key").display()
    );
    let mut fleet = Fleet::of(hsmd, Database::create().await, &way).await;

    // The connections that are open from now on have a certificate that ends soon.
    renew(&fleet.hsmd, &issue("short", SHORT));
    let end = in_seconds(SHORT);
    all_call_as(&fleet, metrics, "short").await;

    let (answers, _) = under_load("a certificate renewed", &mut fleet, async |fleet, _| {
        renew(&fleet.hsmd, &issue("renewed", 3600));
        let ended = || now().unix_millis() > end.unix_timestamp() * 1000;
        until("the certificate before has ended", async || ended().then_some(())).await;
        Instant::now()
    })
    .await;
    only(&answers, &ALL, &[]);
    all_call_as(&fleet, metrics, "renewed").await;
    assert_eq!(refused(metrics).await, 0.0, "no call met the end of its certificate");
}

/// How many of the services' calls the daemon refused.
async fn refused(metrics: SocketAddr) -> f64 {
    let mut refused = 0.0;
    for caller in CALLERS.into_iter().chain(["unknown"]) {
        let labels = format!("method=\"Endorse\",caller=\"{caller}\",code=\"Unauthenticated\"");
        let series = format!("hsmd_requests_total{{{labels}}}");
        refused += value(metrics, &series).await.unwrap_or_default();
    }
    refused
}
