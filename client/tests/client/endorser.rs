//! Endorser: first endorsement, renewal, and what happens when the key moves.

use std::sync::atomic::Ordering;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use hsmd_chain::testing::{LogBuilder, SoftwareKey};
use hsmd_chain::{PublicKey, SignedPayload};
use hsmd_client::{Code, EndorseProblem, Endorser, LogOptions, TokenError, VerifiedLog};
use hsmd_tests::peer::{Peer, error};
use hsmd_tests::{soon, until};

use crate::{client, follow};

const HOUR: Duration = Duration::from_secs(3600);

fn key() -> PublicKey {
    *SoftwareKey::from_seed("service").public_key()
}

fn start(peer: &Peer, log: &VerifiedLog, ttl: Duration) -> Endorser {
    Endorser::start(&client(peer), log.clone(), "access", key(), ttl)
}

/// Waits for an endorsement by generation `number`.
async fn endorsed_by(endorser: &Endorser, peer: &Peer, number: usize) {
    let id = peer.state.log.borrow().id(number);
    let mut published = endorser.subscribe();
    let by_id = |it: &Option<std::sync::Arc<hsmd_client::Endorsement>>| {
        it.as_ref().is_some_and(|it| it.generation_id() == id)
    };
    soon(published.wait_for(by_id)).await.expect("the endorser lives");
}

#[tokio::test]
async fn publishes_leaves_of_a_batch_if_it_may() {
    let peer = Peer::start(LogBuilder::of_length("batch", 2));
    peer.state.batching.store(true, Ordering::Relaxed);
    let log = follow(&peer, LogOptions::default());
    let accepting = client(&peer).accept_batch(true);
    let endorser = Endorser::start(&accepting, log.clone(), "access", key(), HOUR);
    endorsed_by(&endorser, &peer, 1).await;
    // Rotated, tainted: a new one each time, in a batch of the new generation.
    for (number, taint) in [(2, false), (3, true)] {
        peer.state.append(taint);
        endorsed_by(&endorser, &peer, number).await;
        let text = endorser.current().expect("an endorsement").to_json();
        let published = SignedPayload::parse(text).expect("published form");
        assert!(matches!(published, SignedPayload::Batched(_)), "{published:?}");
        log.check_endorsement(&published, "access", &key(), Duration::ZERO).expect("good");
    }
}

#[tokio::test]
async fn publishes_what_it_has_verified() {
    let peer = Peer::start(LogBuilder::of_length("endorse", 2));
    let log = follow(&peer, LogOptions::default());
    let endorser = start(&peer, &log, HOUR);
    let endorsement = soon(endorser.ready()).await;
    let body = SignedPayload::parse(endorsement.to_json()).expect("published form");
    log.check_endorsement(&body, "access", &key(), Duration::ZERO).expect("good");
    assert_eq!(endorsement.generation_id(), peer.state.log.borrow().id(1));
    assert!(endorser.problem().is_none());
    peer.state.append(false);
    endorsed_by(&endorser, &peer, 2).await;
    assert_eq!(*peer.state.endorse_calls.borrow(), 2, "one for each generation");
}

#[tokio::test]
async fn fifty_endorsers_ask_once_more_after_a_taint_and_once_more_after_a_refusal() {
    let peer = Peer::start(LogBuilder::new("fifty"));
    let endorsers: Vec<_> =
        (0..50).map(|_| start(&peer, &follow(&peer, LogOptions::default()), HOUR)).collect();
    for endorser in &endorsers {
        soon(endorser.ready()).await;
    }
    // As after a real taint, the first answers are refusals.
    let refusals = (0..50).map(|_| error(Code::Unavailable, "TAINT_IN_PROGRESS"));
    peer.state.endorse_errors.lock().extend(refusals);
    peer.state.append(true);
    for endorser in &endorsers {
        endorsed_by(endorser, &peer, 1).await;
    }
    assert_eq!(*peer.state.endorse_calls.borrow(), 3 * 50, "no call too many");
}

#[tokio::test]
async fn a_rotation_keeps_the_old_endorsement_until_the_new_one_is_there() {
    let peer = Peer::start(LogBuilder::new("rotation"));
    let endorser = start(&peer, &follow(&peer, LogOptions::default()), HOUR);
    soon(endorser.ready()).await;
    peer.state.endorse_errors.lock().extend((0..5).map(|_| error(Code::Unavailable, "STARTING")));
    peer.state.append(false);
    let mut published = endorser.subscribe();
    let id = peer.state.log.borrow().id(1);
    soon(async {
        loop {
            let current = published.borrow_and_update().clone();
            if current.expect("never withdrawn").generation_id() == id {
                return;
            }
            published.changed().await.expect("the endorser lives");
        }
    })
    .await;
}

#[tokio::test]
async fn a_tainted_endorsement_is_withdrawn_before_there_is_a_new_one() {
    let peer = Peer::start(LogBuilder::new("withdraw"));
    let endorser = start(&peer, &follow(&peer, LogOptions::default()), HOUR);
    soon(endorser.ready()).await;
    let refusal = || error(Code::PermissionDenied, "PURPOSE_NOT_ALLOWED");
    peer.state.endorse_errors.lock().extend((0..1000).map(|_| refusal()));
    peer.state.append(true);
    until("no endorsement", async || endorser.current().is_none()).await;
    until("a problem", async || endorser.problem().is_some()).await;
    match endorser.problem().as_deref() {
        Some(EndorseProblem::Call(error)) => {
            assert_eq!(error.reason(), Some("PURPOSE_NOT_ALLOWED"));
            assert!(!error.is_retryable());
        }
        other => panic!("{other:?}"),
    }
    // The next move of the log is a reason to try again at once.
    peer.state.endorse_errors.lock().clear();
    peer.state.append(false);
    endorsed_by(&endorser, &peer, 2).await;
}

#[tokio::test]
async fn renews_before_the_expiration() {
    let peer = Peer::start(LogBuilder::new("renew"));
    let endorser = start(&peer, &follow(&peer, LogOptions::default()), Duration::from_secs(3));
    let mut last = soon(endorser.ready()).await;
    let mut published = endorser.subscribe();
    published.mark_unchanged();
    for _ in 0..3 {
        soon(published.changed()).await.expect("the endorser lives");
        let next = published.borrow_and_update().clone().expect("renewed before it expired");
        assert!(next.expiration() > last.expiration());
        last = next;
    }
    let calls = *peer.state.endorse_calls.borrow();
    assert!(calls <= 6, "{calls} calls for 4 endorsements");
}

#[tokio::test]
async fn an_expired_endorsement_is_withdrawn() {
    let peer = Peer::start(LogBuilder::new("expire"));
    let endorser = start(&peer, &follow(&peer, LogOptions::default()), Duration::from_secs(1));
    soon(endorser.ready()).await;
    let refusal = || error(Code::PermissionDenied, "CALLER_UNKNOWN");
    peer.state.endorse_errors.lock().extend((0..1000).map(|_| refusal()));
    until("no endorsement", async || endorser.current().is_none()).await;
}

#[tokio::test]
async fn an_answer_that_overtakes_its_event_waits_for_it() {
    let peer = Peer::start(LogBuilder::new("overtake"));
    let log = follow(&peer, LogOptions::default());
    soon(log.ready()).await.expect("ready");
    peer.state.frozen.send_replace(true);
    peer.state.append(false);
    let endorser = start(&peer, &log, HOUR);
    let mut calls = peer.state.endorse_calls.subscribe();
    soon(calls.wait_for(|calls| *calls > 0)).await.expect("the peer lives");
    assert!(endorser.current().is_none());
    peer.state.frozen.send_replace(false);
    endorsed_by(&endorser, &peer, 1).await;
    peer.state.append(false);
    endorsed_by(&endorser, &peer, 2).await;
    assert_eq!(*peer.state.endorse_calls.borrow(), 2, "one for each generation");
}

#[tokio::test]
async fn tokens_are_signed_while_the_endorsement_holds() {
    let peer = Peer::start(LogBuilder::of_length("tokens", 2));
    let log = follow(&peer, LogOptions::default());
    let endorser = Endorser::start(&client(&peer), log, "jwt", key(), HOUR);
    let sign = |text: &str| SoftwareKey::from_seed("service").sign(text.as_bytes());
    let expiration = soon(endorser.ready()).await.expiration();
    let token = endorser.sign_token(&serde_json::json!({"sub": "ann"}), 2 * HOUR, sign);
    let token = token.expect("a token");
    let decode = |number: usize| -> serde_json::Value {
        let part = token.split('.').nth(number).expect("a part");
        let bytes = Base64UrlUnpadded::decode_vec(part).expect("base64url");
        serde_json::from_slice(&bytes).expect("JSON")
    };
    assert_eq!(decode(0), serde_json::json!({"alg": "ES256", "typ": "JWT", "kid": key().as_str()}));
    let claims = decode(1);
    assert_eq!(claims["sub"], "ann");
    assert_eq!(claims["exp"], expiration.unix_millis() / 1000, "never longer than the endorsement");
    let listed = endorser.sign_token(&[1], HOUR, sign);
    assert!(matches!(listed, Err(TokenError::Claims(_))), "{listed:?}");

    // After a taint there is none until the key is endorsed anew.
    let refusals = (0..1000).map(|_| error(Code::Unavailable, "TAINT_IN_PROGRESS"));
    peer.state.endorse_errors.lock().extend(refusals);
    peer.state.append(true);
    let refused =
        until("no token", async || endorser.sign_token(&serde_json::json!({}), HOUR, sign).err())
            .await;
    assert!(matches!(refused, TokenError::NotEndorsed | TokenError::Check(_)), "{refused:?}");
    peer.state.endorse_errors.lock().clear();
    until("a token", async || endorser.sign_token(&serde_json::json!({}), HOUR, sign).ok()).await;
}
