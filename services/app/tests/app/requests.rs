//! `POST /foo/bar`: what is answered, and each check violated once.

use std::time::Duration;

use hsmd_chain::{SignedPayload, cesr::PublicKey, testing::LogBuilder};
use hsmd_client::{Clock, ConnectOptions, LogOptions, LogSource, VerifiedLog};
use hsmd_protocol::{AccessToken, PrivateKey};
use hsmd_service::random;
use hsmd_tests::{gzip_bomb, until};
use serde_json::Value;

use crate::{
    session::{REQUEST, Session, in_seconds, now, seconds_ago},
    stack::{App, Stack},
};

#[tokio::test]
async fn a_good_request_is_answered_by_an_endorsed_key() {
    let stack = Stack::start().await;
    let app = stack.app().await;
    let nonce = random::nonce();
    let session = stack.session();
    let request = session.request_with(nonce, now(), session.token_text(), REQUEST);
    let answer = app.post(request).await;
    assert_eq!(answer.status, 200, "{}", answer.text);

    // The exact wire form, and who signed it.
    let (payload, signature) = answer.text.split_once(r#","signature":""#).unwrap();
    let payload = payload.strip_prefix(r#"{"payload":"#).unwrap();
    let members: Value = serde_json::from_str(payload).unwrap();
    let server: PublicKey = members["access"]["serverIdentity"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        payload,
        format!(
            r#"{{"access":{{"nonce":"{nonce}","serverIdentity":"{server}"}},"response":{{"wasFoo":"bar-y","wasBar":"foo-y","serverName":"rust"}}}}"#
        )
    );
    let signature = signature.strip_suffix(r#""}"#).unwrap().parse().unwrap();
    server.verify(payload.as_bytes(), &signature).unwrap();

    // Its endorsement is where the keys service finds it, and holds.
    let stored = stack.store.response_endorsements.find(&server).await.unwrap().unwrap();
    let options = ConnectOptions::new(stack.hsm.endpoint());
    let source = LogSource::Grpc(hsmd_client::Client::connect(&options).unwrap());
    let anchor = stack.hsm.identity.parse().unwrap();
    let log = VerifiedLog::follow(source, anchor, LogOptions::default()).unwrap();
    log.ready().await.unwrap();
    let endorsement = SignedPayload::parse(&stored).unwrap();
    log.check_endorsement(&endorsement, "response", &server, Duration::ZERO).unwrap();
    let lifetime = endorsement_lifetime(&log, &endorsement, &server);
    assert!(lifetime > Duration::from_secs(11 * 3600) && lifetime < Duration::from_secs(13 * 3600));

    // The members of the request come in the order that the client likes.
    let turned = r#"{"bar":"b","foo":"f"}"#;
    let answer =
        app.post(session.request_with(random::nonce(), now(), session.token_text(), turned)).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text.contains(r#""wasFoo":"f","wasBar":"b""#));
}

fn endorsement_lifetime(
    log: &VerifiedLog,
    endorsement: &SignedPayload,
    server: &PublicKey,
) -> Duration {
    let checked = log.check_endorsement(endorsement, "response", server, Duration::ZERO).unwrap();
    checked.expiration().saturating_since(Clock::system().now())
}

#[tokio::test]
async fn each_check_refuses_what_violates_it() {
    let stack = Stack::start().await;
    let app = stack.app().await;
    let good = || stack.session();
    assert_eq!(app.post(good().request()).await.status, 200);

    malformed(&app, &good()).await;
    tokens(&stack, &app).await;
    times(&stack, &app).await;
    servers(&stack, &app).await;

    let mut other_key = good();
    other_key.key = random::key();
    refused(&app, other_key.request(), (401, "BA101"), "signed by another key").await;
    let text = good().request().replace("foo-y", "foo-z");
    refused(&app, text, (401, "BA101"), "changed after signing").await;

    let revoked = good();
    assert_eq!(app.post(revoked.request()).await.status, 200);
    stack
        .store
        .revoked_devices
        .revoke(&revoked.token.device, Duration::from_secs(60))
        .await
        .unwrap();
    let answer = app.post(revoked.request()).await;
    assert_eq!((answer.status, answer.text.as_str()), (403, r#"{"error":"device revoked"}"#));

    let mut powerless = good();
    powerless.token.attributes =
        serde_json::from_str(r#"{"permissionsByRole":{"user":["write"],"admin":["read"]}}"#)
            .unwrap();
    let answer = app.post(powerless.request()).await;
    assert_eq!((answer.status, answer.text.as_str()), (401, r#"{"error":"unauthorized"}"#));

    assert_eq!(app.post(good().request()).await.status, 200, "still served after all that");
}

async fn malformed(app: &App, session: &Session) {
    let good = session.request();
    let nonce = random::nonce;
    let with = |request: &str| session.request_with(nonce(), now(), session.token_text(), request);
    for (name, text) in [
        ("empty", String::new()),
        ("no JSON", "{".to_owned()),
        ("no signature", good.replace(r#","signature":"#, r#","signatures":"#)),
        ("a further member", good.replacen('{', r#"{"more":1,"#, 1)),
        ("a double member", good.replacen(r#""nonce":"#, r#""nonce":"0A","nonce":"#, 1)),
        ("a blank", good.replacen(r#""access":"#, r#""access": "#, 1)),
        ("a missing member", with(r#"{"foo":"x"}"#)),
        ("an unknown member", with(r#"{"foo":"x","bar":"y","baz":"z"}"#)),
        ("another type", with(r#"{"foo":1,"bar":"y"}"#)),
        ("a byte order mark", format!("\u{feff}{good}")),
    ] {
        refused(app, text, (400, "BA101"), name).await;
    }
    let long = app.post(vec![b' '; 20_001]).await;
    assert_eq!(long.refusal(), (413, "BA000".to_owned()));
    assert_eq!(app.status("/foo/bar").await.status, 405);
    assert_eq!(app.status("/foo").await.status, 404);
    assert_eq!(app.ask("OPTIONS", "/foo/bar", axum::body::Bytes::new()).await.status, 200);
}

async fn tokens(stack: &Stack, app: &App) {
    let session = stack.session();
    let text = session.token_text();
    let with = |token: String| session.request_with(random::nonce(), now(), token, REQUEST);
    let (signature, packed) = text.split_at(88);
    for (name, token) in [
        ("empty", String::new()),
        ("cut", text[..text.len() - 20].to_owned()),
        ("padded", format!("{text}=")),
        ("not gzip", format!("{signature}{}", "A".repeat(200))),
        ("a bomb", format!("{signature}{}", gzip_bomb())),
        ("two members", format!("{text}{packed}")),
    ] {
        refused(app, with(token), (400, "BA101"), name).await;
    }
    // Well formed, but signed by somebody else in the server's name.
    let thief =
        AccessToken { server_identity: *random::key().public_key(), ..session.token.clone() };
    assert!(thief.encode(&stack.server).is_err());
    let other = stack.session();
    let other_text = other.token_text();
    let forged = format!("{}{packed}", &other_text[..88]);
    refused(app, with(forged), (401, "BA101"), "a foreign signature").await;
}

async fn times(stack: &Stack, app: &App) {
    let mut expired = stack.session();
    expired.token.issued_at = seconds_ago(1000);
    expired.token.expiry = seconds_ago(1);
    refused(app, expired.request(), (422, "BA401"), "an expired token").await;
    let mut early = stack.session();
    early.token.issued_at = in_seconds(10);
    refused(app, early.request(), (422, "BA403"), "a token from the future").await;
    let session = stack.session();
    refused(app, session.request_at(seconds_ago(31)), (422, "BA501"), "a stale request").await;
    refused(app, session.request_at(in_seconds(10)), (422, "BA502"), "one from the future").await;
    assert_eq!(app.post(session.request_at(now())).await.status, 200);
}

async fn servers(stack: &Stack, app: &App) {
    let session_of = |server: &PrivateKey| Session::new(server);
    let unknown = random::key();
    refused(app, session_of(&unknown).request(), (401, "BA000"), "an unknown server").await;

    let hour = Duration::from_secs(3600);
    let foreign = random::key();
    let text = stack.endorse(&foreign, "other", hour).await;
    stack.store_endorsement(&foreign, &text).await;
    refused(app, session_of(&foreign).request(), (401, "BA000"), "another purpose").await;

    let response = random::key();
    stack.publish(&response, "response").await;
    refused(app, session_of(&response).request(), (401, "BA000"), "a response key").await;

    let thief = random::key();
    let text = stack.endorse(&stack.server, "access", hour).await;
    stack.store_endorsement(&thief, &text).await;
    refused(app, session_of(&thief).request(), (401, "BA000"), "another key's endorsement").await;

    let damaged = random::key();
    stack.store_endorsement(&damaged, "{\"body\":").await;
    refused(app, session_of(&damaged).request(), (401, "BA000"), "a damaged endorsement").await;

    let elsewhere = random::key();
    let far = "2999-01-01T00:00:00.000Z".parse().unwrap();
    let another = LogBuilder::of_length("another HSM", 2);
    let text = another.endorse(1, "access", elsewhere.public_key(), far).to_json();
    stack.store_endorsement(&elsewhere, &text).await;
    refused(app, session_of(&elsewhere).request(), (401, "BA000"), "another HSM's").await;

    let forged = random::key();
    let text = stack.endorse(&forged, "access", hour).await;
    let moved = text.replacen("\"expiration\":\"20", "\"expiration\":\"29", 1);
    stack.store_endorsement(&forged, &moved).await;
    refused(app, session_of(&forged).request(), (401, "BA000"), "a forged expiration").await;

    let purged = random::key();
    stack.publish(&purged, "access").await;
    let session = session_of(&purged);
    assert_eq!(app.post(session.request()).await.status, 200);
    stack.redis.command(&["DEL", purged.public_key().as_str()]).await.unwrap();
    refused(app, session.request(), (401, "BA000"), "a purged key").await;

    let brief = random::key();
    let text = stack.endorse(&brief, "access", Duration::from_secs(1)).await;
    stack.store_endorsement(&brief, &text).await;
    let session = session_of(&brief);
    until("the endorsement to expire", async || {
        app.post(session.request()).await.refusal() == (401, "BA000".to_owned())
    })
    .await;
}

async fn refused(app: &App, text: String, expected: (u16, &str), name: &str) {
    let answer = app.post(text).await;
    assert_eq!(answer.refusal(), (expected.0, expected.1.to_owned()), "{name}");
    assert!(!answer.text.contains("payload"), "{name}");
}
