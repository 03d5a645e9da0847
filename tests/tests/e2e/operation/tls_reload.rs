//! Certificates, keys and authorities that change under a running daemon.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use hsmd_proto::v1;
use hsmd_tests::{Daemon, Hsmd, Refusal, TEST_TIMEOUT, until};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tonic::Code;

use crate::operation::errors::assert_documented;
use crate::operation::pki::{Authority, Credentials, Files, SERVER, in_seconds};
use crate::operation::remote::Dial;
use crate::operation::{DOCUMENT, Tls, assert_refused, head, with_callers};

const NAME: &str = "spiffe://example.org/signer";
const CALLER: &str = r#"
    [[caller]]
    name = "signer"
    san = "spiffe://example.org/signer"
    sign = ["document"]
    read_log = true
"#;

async fn serving() -> (Hsmd, Tls, Daemon) {
    let (hsmd, tls) = Tls::of(with_callers(Hsmd::initialised().await, CALLER));
    let daemon = hsmd.serve().await;
    (hsmd, tls, daemon)
}

/// Whether a new connection is shown this certificate.
async fn shows(dial: &Dial, credentials: &Credentials) -> bool {
    let expected = CertificateDer::from_pem_slice(credentials.certificate.as_bytes()).unwrap();
    dial.greeted().await.unwrap().server_certificate() == expected
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart() {
    let (hsmd, tls, daemon) = serving().await;
    let dial = tls.dial(&[NAME]);
    let open = dial.remote(&hsmd);
    head(&open.rpc).await.unwrap();
    for _ in 0..2 {
        let renewed = tls.server();
        Files(&hsmd).write(&renewed, &tls.clients.pem);
        until("the new certificate", async || shows(&dial, &renewed).await.then_some(())).await;
    }
    head(&open.rpc).await.unwrap();
    assert_eq!(open.connections(), 1, "the same authorities: an open connection goes on");
    drop(daemon);
}

#[tokio::test]
async fn half_replaced_files_leave_the_old_ones_in_force() {
    let (hsmd, tls, daemon) = serving().await;
    let (dial, renewed) = (tls.dial(&[NAME]), tls.server());
    let old = dial.greeted().await.unwrap().server_certificate();
    let misfit = "TLS files have changed but do not fit";
    let misfits = || daemon.log_text().matches(misfit).count();
    Files(&hsmd).write_certificate(&renewed);
    until(misfit, async || (misfits() > 0).then_some(())).await;
    assert_eq!(dial.greeted().await.unwrap().server_certificate(), old);

    let before = misfits();
    Files(&hsmd).write_client_ca("no certificate at all");
    Files(&hsmd).write_key(&renewed);
    until(misfit, async || (misfits() > before).then_some(())).await;
    assert_eq!(dial.greeted().await.unwrap().server_certificate(), old);
    head(&dial.remote(&hsmd).rpc).await.unwrap();

    Files(&hsmd).write_client_ca(&tls.clients.pem);
    until("the rest of the files", async || shows(&dial, &renewed).await.then_some(())).await;
}

#[tokio::test]
async fn a_start_with_half_replaced_files_is_refused() {
    let (hsmd, tls) = Tls::of(with_callers(Hsmd::initialised().await, CALLER));
    Files(&hsmd).write_key(&tls.server());
    hsmd.launch(&[]).refused("listen.tls").await;
    hsmd.run(&["check"]).await.refused("do not make a TLS configuration");
    let ended = tls.servers.issue_until(&[SERVER], in_seconds(-1));
    Files(&hsmd).write(&ended, &tls.clients.pem);
    hsmd.run(&["check"]).await.refused("the certificate has ended at");
    std::fs::remove_file(hsmd.path("tls.key")).unwrap();
    hsmd.launch(&[]).refused("tls.key").await;
}

#[tokio::test]
async fn a_client_authority_that_has_ended_is_said_by_check() {
    let (hsmd, tls) = Tls::of(with_callers(Hsmd::initialised().await, CALLER));
    hsmd.run(&["check"]).await.good();
    let ended = Authority::until("callers of last year", in_seconds(-1));
    Files(&hsmd).write_client_ca(&format!("{}{}", tls.clients.pem, ended.pem));
    hsmd.run(&["check"]).await.refused("an authority in client_ca has ended at");
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_said_by_status_and_log() {
    let (hsmd, tls) = Tls::of(with_callers(Hsmd::initialised().await, CALLER));
    Files(&hsmd).write(&tls.servers.issue_until(&[SERVER], in_seconds(-1)), &tls.clients.pem);
    let daemon = hsmd.serve().await;
    let status = daemon.problem("the TLS certificate ended at").await;
    assert_eq!(status.state(), v1::ServingState::Degraded);
    let said = || daemon.log_text().matches("the TLS certificate has expired").count();
    until("the log says so", async || (said() > 0).then_some(())).await;
    Files(&hsmd).write(&tls.server(), &tls.clients.pem);
    until("all is well", async || daemon.status().await.ok()?.problems.is_empty().then_some(()))
        .await;
    assert_eq!(said(), 1, "said once");
}

#[tokio::test]
async fn a_private_key_that_others_can_read_is_refused() {
    let (hsmd, tls) = Tls::of(with_callers(Hsmd::initialised().await, CALLER));
    let key = hsmd.path("tls.key");
    let mode = |mode| std::fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
    for open in [0o604, 0o644, 0o660] {
        mode(open);
        hsmd.run(&["check"]).await.refused("admits others: use 0400, 0440 or 0600");
        hsmd.launch(&[]).refused("admits others: use 0400, 0440 or 0600").await;
    }
    mode(0o440);
    let checked = hsmd.run(&["check"]).await.good();
    assert!(checked.contains("the certificate is valid until 2"), "{checked}");
    let daemon = hsmd.serve().await;
    let dial = tls.dial(&[NAME]);
    let old = dial.greeted().await.unwrap().server_certificate();
    let renewed = tls.server();
    Files(&hsmd).write_certificate(&renewed);
    let draft = hsmd.path("tls.key.draft");
    std::fs::write(&draft, &renewed.key).unwrap();
    std::fs::set_permissions(&draft, Permissions::from_mode(0o644)).unwrap();
    std::fs::rename(&draft, &key).unwrap();
    let told = || daemon.log_text().contains("mode 644 admits others");
    until("the daemon says why", async || told().then_some(())).await;
    assert_eq!(dial.greeted().await.unwrap().server_certificate(), old);
    Files(&hsmd).write_key(&renewed);
    until("the new certificate", async || shows(&dial, &renewed).await.then_some(())).await;
}

#[tokio::test]
async fn a_new_client_authority_closes_what_the_old_one_let_in() {
    let (hsmd, tls, _daemon) = serving().await;
    let (old, next) = (tls.dial(&[NAME]), Authority::new("the next callers"));
    let remote = old.remote(&hsmd);
    let request = v1::WatchEventsRequest { from_sequence: 0 };
    let mut watch = remote.rpc.key_log.clone().watch_events(request).await.unwrap().into_inner();
    let idle = old.greeted().await.unwrap();

    // Both for a while, as a change of authorities is made.
    Files(&hsmd).write_client_ca(&format!("{}{}", tls.clients.pem, next.pem));
    let closed = async {
        while let Ok(Some(_)) = watch.message().await {}
        idle.closed().await;
    };
    tokio::time::timeout(TEST_TIMEOUT, closed).await.expect("open connections are closed");
    head(&remote.rpc).await.expect("the old certificate is still good");
    assert_eq!(remote.connections(), 2);
    let new = tls.dial_with(&next.issue(&[NAME])).remote(&hsmd);
    head(&new.rpc).await.unwrap();

    let idle = old.greeted().await.unwrap();
    Files(&hsmd).write_client_ca(&next.pem);
    tokio::time::timeout(TEST_TIMEOUT, idle.closed()).await.expect("closed");
    let refused = old.refused().await;
    assert!(refused.contains("UnknownCA"), "{refused}");
    assert_eq!(head(&remote.rpc).await.unwrap_err().reason, "", "there is no connection");
    head(&new.rpc).await.unwrap();
    assert_eq!(new.connections(), 2);
}

#[tokio::test]
async fn a_certificate_that_ends_is_refused_on_its_open_connection() {
    let (hsmd, tls, _daemon) = serving().await;
    let short = tls.clients.issue_until(&[NAME], in_seconds(8));
    let remote = tls.dial_with(&short).remote(&hsmd);
    let request = v1::WatchEventsRequest { from_sequence: 0 };
    let mut watch = remote.rpc.key_log.clone().watch_events(request).await.unwrap().into_inner();
    remote.rpc.sign(DOCUMENT).await.unwrap();
    let refusal =
        until("the end of the certificate", async || remote.rpc.sign(DOCUMENT).await.err()).await;
    assert_documented::<()>("CERTIFICATE_EXPIRED", Err(refusal));
    assert_refused(head(&remote.rpc).await, Code::Unauthenticated, "CERTIFICATE_EXPIRED");
    let end = loop {
        match watch.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a watch ends with a reason"),
            Err(status) => break Refusal::from(status),
        }
    };
    assert_eq!(end.reason, "CERTIFICATE_EXPIRED");
    assert_eq!(remote.connections(), 1, "all on one connection");
    assert!(tls.dial_with(&short).refused().await.contains("CertificateExpired"));
}
