//! What is refreshed: whose token it is, who signed it, when, and how it is packed.

use std::time::Duration;

use hsmd_chain::testing::LogBuilder;
use hsmd_client::Clock;
use hsmd_protocol::{
    AccessToken, DeviceReference, PrivateKey, ReceivedToken, UnlinkDevice, client::KeyChain,
};
use hsmd_tests::{gzip_bomb, wait_for};

use super::refused;
use crate::{
    client::{Account, Answer, Http, chain, key, nonce, refresh, sign},
    stack::Stack,
};

pub(super) fn tokens(http: &Http, stack: &Stack) {
    let alice = Account::create(http);
    let (session, token) = alice.session(http);
    let claims = claims(&token);
    assert_eq!((claims.device, claims.identity), (alice.device, alice.identity));
    let seconds = |until: hsmd_chain::Timestamp| until.saturating_since(claims.issued_at).as_secs();
    assert_eq!((seconds(claims.expiry), seconds(claims.refresh_expiry)), (900, 43_200));
    let attributes = serde_json::to_string(&claims.attributes).expect("JSON");
    assert_eq!(attributes, r#"{"permissionsByRole":{"user":["read","write"]}}"#);

    packing(http, &token, &session);
    servers(http, stack, &claims);
    contents(http, stack, &claims, &session);
    lineage(http, &alice, &token, &session);
}

fn claims(token: &str) -> AccessToken {
    ReceivedToken::decode(token).expect("a token").verify().expect("signed")
}

fn post(http: &Http, token: &str, session: &KeyChain) -> Answer {
    http.post("/session/refresh", &refresh(token, session, 1).text)
}

/// The token's text.
fn packing(http: &Http, token: &str, session: &KeyChain) {
    let (signature, packed) = token.split_at(88);
    for (name, token) in [
        ("empty", String::new()),
        ("cut", token[..token.len() - 20].to_owned()),
        ("not gzip", format!("{signature}{}", "A".repeat(200))),
        ("a bomb", format!("{signature}{}", gzip_bomb())),
        ("two members", format!("{token}{packed}")),
    ] {
        refused(name, &post(http, &token, session), 400, "BA101");
    }
}

/// Who signed it: each time a token that is right but for its server's key.
fn servers(http: &Http, stack: &Stack, claims: &AccessToken) {
    // Of a session of its own, since a session is refreshed but once.
    let token = |server: &PrivateKey, session: &KeyChain| {
        let claims = AccessToken {
            server_identity: *server.public_key(),
            public_key: *session.current().public_key(),
            rotation_hash: session.first_commitment(),
            ..claims.clone()
        };
        claims.encode(server).expect("its key")
    };
    let by = |server: &PrivateKey| {
        let session = chain();
        post(http, &token(server, &session), &session)
    };
    let refused_as = |name: &str, server: &PrivateKey| refused(name, &by(server), 401, "BA000");
    refused_as("a server that nobody endorsed", &key());

    let server = key();
    stack.publish(server.public_key(), "other", server.public_key());
    refused_as("endorsed for another purpose", &server);
    let server = key();
    stack.publish(server.public_key(), "response", server.public_key());
    refused_as("a response key", &server);
    let server = key();
    stack.publish(server.public_key(), "access", key().public_key());
    refused_as("another key's endorsement", &server);
    let server = key();
    stack.store_endorsement(server.public_key(), "{\"body\":");
    refused_as("a damaged endorsement", &server);
    let server = key();
    let foreign = LogBuilder::of_length("another HSM", 2);
    let far = "2999-01-01T00:00:00.000Z".parse().expect("a time");
    let endorsement = foreign.endorse(1, "access", server.public_key(), far).to_json();
    stack.store_endorsement(server.public_key(), &endorsement);
    refused_as("endorsed by another HSM", &server);

    let server = key();
    stack.publish(server.public_key(), "access", server.public_key());
    let session = chain();
    let (good, other) = (token(&server, &session), token(&key(), &session));
    let forged = post(http, &format!("{}{}", &other[..88], &good[88..]), &session);
    refused("a foreign signature", &forged, 401, "BA101");

    stack.taint();
    let dead = (401, "BA000".to_owned());
    wait_for("the taint to be known", || (by(&server).refusal() == dead).then_some(()));
    stack.publish(server.public_key(), "access", server.public_key());
    wait_for("the next generation to be believed", || (by(&server).status == 200).then_some(()));
}

/// What it says: signed by a server that is endorsed, and wrong.
fn contents(http: &Http, stack: &Stack, claims: &AccessToken, session: &KeyChain) {
    let server = key();
    stack.publish(server.public_key(), "access", server.public_key());
    let with = |change: &dyn Fn(&mut AccessToken)| {
        let server_identity = *server.public_key();
        let mut claims = AccessToken { server_identity, ..claims.clone() };
        change(&mut claims);
        post(http, &claims.encode(&server).expect("its key"), session)
    };
    let nobody = key().public_key().digest();
    refused("nobody's token", &with(&|it| it.identity = nobody), 401, "BA102");
    refused("another's device", &with(&|it| it.device = nobody), 401, "BA103");
    let past = Clock::system().now().checked_sub(Duration::from_secs(1)).expect("a time");
    refused("too late", &with(&|it| it.refresh_expiry = past), 422, "BA401");
}

/// Which access keys it goes on with, and for whom.
fn lineage(http: &Http, alice: &Account, token: &str, session: &KeyChain) {
    let uncommitted = http.post("/session/refresh", &refresh(token, session, 2).text);
    refused("an uncommitted access key", &uncommitted, 401, "BA104");
    refused("a key of somebody", &post(http, token, &chain()), 401, "BA104");
    let request = refresh(token, session, 1).text;
    let stolen = request.replacen(&nonce_in(&request), &nonce().to_string(), 1);
    refused("changed after signing", &http.post("/session/refresh", &stolen), 401, "BA101");

    let next = http.send(&refresh(token, session, 1)).access.token;
    let (before, after) = (claims(token), claims(&next));
    assert_eq!(after.refresh_expiry, before.refresh_expiry);
    let text = |claims: &AccessToken| serde_json::to_string(&claims.attributes).expect("JSON");
    assert_eq!(text(&after), text(&before));
    refused("refreshed again", &post(http, token, session), 401, "BA104");
    let next = http.send(&refresh(&next, session, 2)).access.token;

    let (authentication, signer) = alice.rotation(1);
    let link = DeviceReference { device: alice.device };
    http.send(&sign(&UnlinkDevice { authentication, link }, signer));
    let revoked = http.post("/session/refresh", &refresh(&next, session, 3).text);
    refused("a revoked device", &revoked, 403, "BA103");
}

fn nonce_in(request: &str) -> String {
    request[r#"{"payload":{"access":{"nonce":""#.len()..][..24].to_owned()
}
