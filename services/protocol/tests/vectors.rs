//! The golden vectors of the protocol, which clients in other languages share.

#![expect(clippy::expect_used, reason = "helpers of tests fail the test that called them")]

use hsmd_chain::cesr::{Digest, Nonce};
use hsmd_protocol::{
    CreateAccount, Operation, PrivateKey, Received, ReceivedToken, Reply, RotateDevice,
    client::{self, KeyChain, Outgoing},
    device_id, identity_id, key_hash, sign_reply,
};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors.json")).expect("the vectors are JSON")
}

fn text<'a>(vectors: &'a Value, path: &str) -> &'a str {
    vectors.pointer(path).and_then(Value::as_str).expect(path)
}

fn private_key(hex: &str) -> PrivateKey {
    let mut bytes = [0_u8; 32];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex");
    }
    PrivateKey::from_bytes(&bytes).expect("a key")
}

fn keys(vectors: &Value, name: &str) -> Vec<PrivateKey> {
    (0..3).map(|i| private_key(text(vectors, &format!("/{name}PrivateKeysHex/{i}")))).collect()
}

#[test]
fn keys_and_their_hashes() {
    let v = vectors();
    for name in ["clientAuthentication", "clientAccess"] {
        for (i, key) in keys(&v, name).iter().enumerate() {
            assert_eq!(key.public_key().as_str(), text(&v, &format!("/{name}PublicKeys/{i}")));
        }
    }
    let authentication = keys(&v, "clientAuthentication");
    let recovery = private_key(text(&v, "/recoveryPrivateKeyHex"));
    let recovery_hash = key_hash(recovery.public_key());
    assert_eq!(recovery_hash.as_str(), text(&v, "/recoveryHash"));
    let (first, next) = (authentication[0].public_key(), key_hash(authentication[1].public_key()));
    assert_eq!(device_id(first, &next).as_str(), text(&v, "/device"));
    assert_eq!(identity_id(first, &next, &recovery_hash).as_str(), text(&v, "/identity"));
}

/// What a signature covers must be the same text; signatures themselves differ between libraries.
fn payload_of(message: &str) -> &str {
    let end = message.rfind(r#","signature":""#).expect("signed");
    &message[r#"{"payload":"#.len()..end]
}

#[test]
fn messages_are_read_and_written_as_in_the_vectors() {
    let v = vectors();
    let chain = KeyChain::from_keys(keys(&v, "clientAuthentication")).expect("three keys");
    let recovery_hash: Digest = text(&v, "/recoveryHash").parse().expect("a digest");

    let received: Received<'_, CreateAccount> =
        Received::parse(text(&v, "/createAccount/message").as_bytes()).expect("well formed");
    let new = client::new_account(&chain, recovery_hash);
    assert_eq!(received.request.authentication, new);
    received.verify(&new.public_key).expect("signed");
    let operation = CreateAccount { authentication: new.clone() };
    let ours = Outgoing::signed(&operation, received.nonce, chain.current());
    assert_eq!(payload_of(&ours.text), text(&v, "/createAccount/payload"));
    assert_eq!(ours.route(), CreateAccount::ROUTE);

    let received: Received<'_, RotateDevice> =
        Received::parse(text(&v, "/rotateDevice/message").as_bytes()).expect("well formed");
    let reveal = chain.reveal(1).expect("three keys");
    let rotation = client::rotation(new.identity, new.device, &reveal);
    assert_eq!(received.request.authentication, rotation);
    received.verify(reveal.key.public_key()).expect("signed");
    let operation = RotateDevice { authentication: rotation };
    let ours = Outgoing::signed(&operation, received.nonce, reveal.key);
    assert_eq!(payload_of(&ours.text), text(&v, "/rotateDevice/payload"));
}

#[test]
fn the_reply_is_verified_and_written_as_in_the_vectors() {
    let v = vectors();
    let message = text(&v, "/createAccountReply/message");
    let nonce: Nonce = "0AAEPCSxUfjT1pLBxYb3OWX6".parse().expect("a nonce");
    let reply: Reply<'_, <CreateAccount as Operation>::Response> =
        Reply::parse(message.as_bytes()).expect("well formed");
    let server = *reply.server_identity();
    let empty = reply.verify(&server, &nonce).expect("signed, for this request");

    // The server's private key is not in the vectors: with another one only its name differs.
    let key = private_key(text(&v, "/recoveryPrivateKeyHex"));
    let ours = sign_reply(nonce, &empty, &key);
    assert_eq!(
        payload_of(&ours).replace(key.public_key().as_str(), server.as_str()),
        text(&v, "/createAccountReply/payload")
    );
}

#[test]
fn the_access_token_is_decoded_and_written_as_in_the_vectors() {
    let v = vectors();
    let token = ReceivedToken::decode(text(&v, "/accessToken/tokenExample")).expect("decodes");
    assert!(text(&v, "/accessToken/tokenExample").starts_with(text(&v, "/accessToken/signature")));
    assert_eq!(
        serde_json::to_string(token.claims()).expect("JSON"),
        text(&v, "/accessToken/payload")
    );
    let mut token = token.verify().expect("signed");
    assert_eq!(token.device.as_str(), text(&v, "/device"));
    assert_eq!(token.public_key.as_str(), text(&v, "/clientAccessPublicKeys/0"));
    let access_keys = keys(&v, "clientAccess");
    assert_eq!(token.rotation_hash, key_hash(access_keys[1].public_key()));
    assert!(token.attributes.permit("user", "read"));
    assert!(
        !token.attributes.permit("user", "delete") && !token.attributes.permit("admin", "read")
    );

    let server = private_key(text(&v, "/recoveryPrivateKeyHex"));
    token.server_identity = *server.public_key();
    let again = ReceivedToken::decode(&token.encode(&server).expect("our key")).expect("decodes");
    assert_eq!(
        serde_json::to_string(&again.verify().expect("signed")).expect("JSON"),
        serde_json::to_string(&token).expect("JSON")
    );
}
