//! Calls: what they bring back, typed errors, deadlines, retries.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hsmd_chain::testing::{LogBuilder, SoftwareKey};
use hsmd_chain::{PublicKey, SignedBody, SignedPayload};
use hsmd_client::{AdminClient, CallError, Client, Code, ConnectOptions};
use hsmd_tests::peer::{Peer, error};
use hsmd_tests::{soon, until};

use crate::client;

const HOUR: Duration = Duration::from_secs(3600);

fn key() -> PublicKey {
    *SoftwareKey::from_seed("service").public_key()
}

#[tokio::test]
async fn signs_and_reads() {
    let peer = Peer::start(LogBuilder::of_length("calls", 5));
    let client = client(&peer);
    let document = r#"{"purpose":"document","text":"ä"}"#;
    let signed = client.sign(document).await.expect("signed");
    let parsed = SignedBody::parse(signed.to_json()).expect("published form");
    assert_eq!(parsed.payload(), document);
    assert_eq!(signed.sequence_number, 4);
    let batch = client.sign_batch(vec![document.into(), "{}".into()]).await.expect("signed");
    assert!(batch[1].to_json().starts_with(r#"{"body":{"payload":{},"#));

    let log = peer.state.log.borrow().clone();
    assert_eq!(client.events(0).await.expect("all"), log.events());
    assert_eq!(client.events(3).await.expect("two"), log.events()[3..]);
    assert_eq!(client.head().await.expect("the head"), *log.head());
    assert_eq!(client.claimed_identity().await.expect("claimed"), log.anchor());
}

#[tokio::test]
async fn who_accepts_batches_gets_leaves_and_nobody_else() {
    let peer = Peer::start(LogBuilder::of_length("batches", 3));
    peer.state.batching.store(true, Ordering::Relaxed);
    let client = client(&peer);
    let accepting = client.clone().accept_batch(true);
    let documents: Vec<bytes::Bytes> = (0..5)
        .map(|number| format!(r#"{{"purpose":"document","number":{number}}}"#).into())
        .collect();
    for (client, batched) in [(client, false), (accepting, true)] {
        let mut all = client.sign_batch(documents.clone()).await.expect("signed");
        let payloads: Vec<_> =
            all.iter().map(|signed| signed.signed.payload().to_owned()).collect();
        assert_eq!(payloads, documents, "in the order of the request");
        all.push(client.sign(documents[0].clone()).await.expect("signed"));
        all.push(client.endorse("access", &key(), HOUR).await.expect("endorsed"));
        for signed in all {
            assert_eq!(matches!(signed.signed, SignedPayload::Batched(_)), batched);
            assert_eq!(signed.sequence_number, 2);
            let (log, now) = (peer.state.log.borrow().log(), hsmd_tests::now());
            let parsed = SignedPayload::parse(signed.to_json()).expect("published form");
            parsed.verify(&log, now, Duration::ZERO).expect("good");
        }
    }
}

#[tokio::test]
async fn rotates_once_however_often_it_is_asked() {
    let peer = Peer::start(LogBuilder::new("admin"));
    let admin = AdminClient::connect(&ConnectOptions::new(peer.endpoint())).expect("a client");
    let head = peer.state.log.borrow().identity();
    assert_eq!(admin.status().await.expect("status").identity, head.to_string());
    let first = admin.taint(&head, "lost").await.expect("tainted");
    let again = admin.taint(&head, "lost").await.expect("tainted before");
    assert!(first.performed && !again.performed);
    assert_eq!(first.event, again.event);
    let unknown = hsmd_chain::Digest::of(b"nothing");
    let refused = admin.rotate(&unknown, "why").await.expect_err("unknown");
    assert_eq!((refused.code(), refused.reason()), (Code::FailedPrecondition, Some("NOT_HEAD")));
}

#[tokio::test]
async fn a_refusal_is_typed_and_not_repeated() {
    let peer = Peer::start(LogBuilder::new("refusal"));
    let refusal = error(Code::PermissionDenied, "TTL_TOO_LONG");
    peer.state.endorse_errors.lock().push_back(refusal);
    let refused = client(&peer).endorse("access", &key(), HOUR).await.expect_err("refused");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(refused.reason(), Some("TTL_TOO_LONG"));
    assert!(!refused.is_retryable());
    assert!(refused.advice().contains("max_ttl"));
    assert!(refused.to_string().contains("said the peer"), "{refused}");
    assert_eq!(*peer.state.endorse_calls.borrow(), 1);
}

#[tokio::test]
async fn a_passing_failure_is_repeated_unless_told_otherwise() {
    let peer = Peer::start(LogBuilder::new("retry"));
    let fail = || {
        let errors = [("STARTING", Code::Unavailable), ("QUEUE_FULL", Code::ResourceExhausted)];
        let errors = errors.map(|(reason, code)| error(code, reason));
        peer.state.endorse_errors.lock().extend(errors);
    };
    fail();
    client(&peer).endorse("access", &key(), HOUR).await.expect("the third attempt");
    assert_eq!(*peer.state.endorse_calls.borrow(), 3);
    fail();
    let once = Client::connect(&ConnectOptions::new(peer.endpoint()).retry(false));
    let failed = once.expect("a client").endorse("access", &key(), HOUR).await;
    let failed = failed.expect_err("one attempt");
    assert!(failed.is_retryable());
    assert_eq!(failed.reason(), Some("STARTING"));
}

#[tokio::test]
async fn a_missing_daemon_is_waited_for_within_the_deadline() {
    let mut peer = Peer::start(LogBuilder::new("late"));
    let endpoint = peer.endpoint();
    peer.stop().await;
    let deadline = Duration::from_millis(200);
    let client = Client::connect(&ConnectOptions::new(&endpoint).deadline(deadline));
    let client = client.expect("a client");
    // A last attempt that begins at the very end has no answer in time.
    let failed = until("nobody there", async || {
        client.head().await.err().filter(|it| matches!(it, CallError::Connection { .. }))
    })
    .await;
    assert_eq!(failed.code(), Code::Unavailable);
    assert!(failed.to_string().contains(&endpoint), "{failed}");

    let waiting = self::client(&peer);
    let call = tokio::spawn(async move { waiting.head().await });
    peer.resume();
    soon(call).await.expect("runs").expect("answers when the daemon is there");
}

#[tokio::test]
async fn a_silent_daemon_is_not_waited_for_for_ever() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("silent.sock");
    // Accepted by the kernel, never answered.
    let _listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    let options = ConnectOptions::new(format!("unix://{}", path.display()));
    let client = Client::connect(&options.deadline(Duration::from_millis(200)));
    let failed = soon(client.expect("a client").head()).await.expect_err("no answer");
    assert!(matches!(failed, CallError::Deadline { .. }), "{failed:?}");
    assert_eq!(failed.code(), Code::DeadlineExceeded);
}
