//! Who gets in over mutual TLS, and as whom.

use hsmd_chain::{Anchor, SignedEvent};
use hsmd_client::{Client, ConnectOptions, LogOptions, LogSource, VerifiedLog};
use hsmd_proto::v1;
use hsmd_tests::{Daemon, Hsmd, TEST_TIMEOUT, until};
use tonic::Code;

use crate::operation::errors;
use crate::operation::pki::{Authority, in_seconds};
use crate::operation::remote::Dial;
use crate::operation::{HOUR, Tls, assert_refused, head, service_key, with_callers};

const URI: &str = "spiffe://example.org/signer";
const DNS: &str = "reader.example.org";
const CALLERS: &str = r#"
    [[caller]]
    name = "signer"
    san = "spiffe://example.org/signer"
    endorse = ["access"]
    read_log = true
    [[caller]]
    name = "reader"
    san = "reader.example.org"
    read_log = true
"#;

#[tokio::test]
async fn callers_are_known_by_the_names_in_their_certificates() {
    let (hsmd, tls) = Tls::of(with_callers(Hsmd::initialised().await, CALLERS));
    let _daemon = hsmd.serve().await;
    let unknown = Some("CALLER_UNKNOWN");
    let cases: [(&[&str], Option<&str>); 9] = [
        (&[URI], None),
        (&[DNS], None),
        (&["spiffe://example.org/else", "else.example.org", URI], None),
        (&[], unknown),
        (&["spiffe://example.org/else"], unknown),
        (&["spiffe://example.org/signer/"], unknown),
        (&["example.org"], unknown),
        (&["*.example.org"], unknown),
        (&[URI, DNS], Some("CALLER_AMBIGUOUS")),
    ];
    for (names, refusal) in cases {
        let remote = tls.dial(names).remote(&hsmd);
        match refusal {
            None => head(&remote.rpc).await.unwrap(),
            Some(reason) => {
                assert_refused(head(&remote.rpc).await, Code::PermissionDenied, reason);
            }
        }
    }
    let key = service_key();
    let signer = tls.dial(&[URI]).remote(&hsmd).rpc;
    signer.endorse("access", &key, HOUR).await.unwrap();
    let reader = tls.dial(&[DNS]).remote(&hsmd).rpc;
    let refused = reader.endorse("access", &key, HOUR).await;
    assert_refused(refused, Code::PermissionDenied, "PURPOSE_NOT_ALLOWED");
}

#[tokio::test]
async fn admin_calls_are_on_the_admin_listener_only() {
    let (hsmd, tls) = Tls::of(with_callers(Hsmd::initialised().await, CALLERS));
    let daemon = hsmd.serve().await;
    let over_tls = tls.dial(&[URI]).remote(&hsmd).rpc;
    let service = tonic::transport::Endpoint::from_shared(format!(
        "unix://{}",
        hsmd.path("service.sock").display()
    ));
    let service = service.unwrap().connect_lazy();
    let over_service =
        hsmd_tests::Rpc::over(service.clone(), service, std::sync::Arc::clone(&hsmd.observer));
    for rpc in [over_tls, over_service] {
        let generation = daemon.head().await.event().id();
        head(&rpc).await.unwrap();
        assert_refused(rpc.status().await, Code::Unimplemented, "");
        assert_refused(rpc.rotate(generation.as_str()).await, Code::Unimplemented, "");
        assert_refused(rpc.taint(generation.as_str()).await, Code::Unimplemented, "");
        let actions = rpc.admin.clone().list_actions(v1::ListActionsRequest::default()).await;
        assert_eq!(actions.unwrap_err().code(), Code::Unimplemented);
    }
    // And nothing but admin calls on the other one.
    let mut signer = hsmd_tests::Rpc::clone(&daemon);
    signer.key_log = v1::key_log_client::KeyLogClient::new(
        tonic::transport::Endpoint::from_shared(format!(
            "unix://{}",
            hsmd.path("admin.sock").display()
        ))
        .unwrap()
        .connect_lazy(),
    );
    assert_refused(head(&signer).await, Code::Unimplemented, "");
    assert_eq!(hsmd.history().await.events().len(), 1);
}

#[tokio::test]
async fn without_a_good_certificate_there_is_no_connection() {
    let (hsmd, tls) = Tls::of(with_callers(Hsmd::initialised().await, CALLERS));
    let _daemon = hsmd.serve().await;
    let dial = |config| Dial::tls(tls.address, config);
    let trusted = &tls.servers;
    // Of the same name as ours.
    let foreign = Authority::new("callers").issue(&[URI]);
    let expired = tls.clients.issue_until(&[URI], in_seconds(-1));
    // The server's authority does not vouch for callers.
    let of_the_servers = trusted.issue(&[URI]);
    let good = tls.clients.issue(&[URI]);
    let tls12 = trusted.client_of(Some(&good), &rustls::version::TLS12);
    for (config, alert) in [
        (trusted.client(None), "CertificateRequired"),
        (trusted.client(Some(&foreign)), "DecryptError"),
        (trusted.client(Some(&expired)), "CertificateExpired"),
        (trusted.client(Some(&of_the_servers)), "UnknownCA"),
        (tls12, "ProtocolVersion"),
    ] {
        let refused = dial(config).refused().await;
        assert!(refused.contains(alert), "{refused} instead of {alert}");
    }
    // Somebody who speaks no TLS at all.
    Dial::plaintext(tls.address).refused().await;
    head(&dial(trusted.client(Some(&good))).remote(&hsmd).rpc).await.unwrap();
}

#[tokio::test]
async fn tls_1_2_is_spoken_where_configured() {
    let hsmd = with_callers(Hsmd::initialised().await, CALLERS);
    let (hsmd, tls) = Tls::of(hsmd);
    let hsmd = hsmd.set("listen.tls.min_version", "1.2");
    let _daemon = hsmd.serve().await;
    let good = tls.clients.issue(&[URI]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = tls.servers.client_of(Some(&good), version);
        head(&Dial::tls(tls.address, config).remote(&hsmd).rpc).await.unwrap();
    }
    let config = tls.servers.client_of(None, &rustls::version::TLS12);
    let refused = Dial::tls(tls.address, config).refused().await;
    assert!(refused.contains("CertificateRequired") || refused.contains("HandshakeFailure"));
}

/// So that a certificate that was revoked by other means is asked for again.
#[tokio::test]
async fn a_connection_lives_as_long_as_configured() {
    let (hsmd, tls) = Tls::of(with_callers(Hsmd::initialised().await, CALLERS));
    let hsmd = hsmd.set("limits.connection_age", "1s");
    let _daemon = hsmd.serve().await;
    let remote = tls.dial(&[URI]).remote(&hsmd);
    until("the third connection", async || {
        // A call that meets the end of its connection is for the caller's library to repeat.
        if let Err(refusal) = head(&remote.rpc).await {
            assert_eq!(refusal.reason, "", "{refusal:?}");
        }
        (remote.connections() >= 3).then_some(())
    })
    .await;
    // A call without end does not keep its connection.
    let request = v1::WatchEventsRequest { from_sequence: 0 };
    let mut watch = remote.rpc.key_log.clone().watch_events(request).await.unwrap().into_inner();
    let ended = async {
        loop {
            if let Err(status) = watch.message().await {
                return status;
            }
        }
    };
    let status = tokio::time::timeout(TEST_TIMEOUT, ended).await.expect("the watch ends");
    errors::assert_documented::<()>("CONNECTION_AGE", Err(status.into()));
    hsmd.set("limits.connection_age", "2h").run(&["check"]).await.ended(64, "1s to 1h");
}

/// Our own clients watch again, as often as it takes.
#[tokio::test]
async fn a_follower_outlives_its_connections() {
    let hsmd = Hsmd::initialised().await.set("limits.connection_age", "1s");
    let daemon = hsmd.serve().await;
    let endpoint = format!("unix://{}", hsmd.path("service.sock").display());
    let client = Client::connect(&ConnectOptions::new(&endpoint)).unwrap();
    let anchor = Anchor::new(hsmd.database.events().await[0].event().prefix());
    let source = LogSource::Grpc(client);
    let follower = VerifiedLog::follow(source, anchor, LogOptions::default()).unwrap();
    follower.ready().await.unwrap();
    until("several connections have ended", async || {
        // A call that meets the end of its connection is for the caller's library to repeat.
        daemon.status().await.is_ok_and(|status| status.uptime_seconds >= 5).then_some(())
    })
    .await;
    let event = until("a rotation", async || {
        let head = head_id(&daemon).await?;
        daemon.rotate(&head).await.ok()
    })
    .await;
    let number = event.0.event().sequence_number();
    until("the follower has it", async || {
        let position = follower.snapshot().map(|log| log.position());
        position.is_some_and(|position| position.sequence_number == number).then_some(())
    })
    .await;
    assert!(follower.terminal_error().is_none() && follower.fresh().is_ok());
}

async fn head_id(daemon: &Daemon) -> Option<String> {
    let head = daemon.status().await.ok()?.head?;
    Some(SignedEvent::parse(&head.text, &head.signature).ok()?.event().id().to_string())
}
