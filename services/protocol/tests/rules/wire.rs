//! The wire form: what is no message or token, and texts that must survive as they are.

use std::io::Write as _;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use flate2::{Compression, write::GzEncoder};
use hsmd_protocol::{
    AccessToken, ChallengeReply, CreateAccount, Empty, Error, LinkContainer, LinkDevice, Operation,
    Received, ReceivedToken, Reply, RequestSession, RotateDevice, client, sign_reply,
};
use proptest::prelude::*;

use crate::world::{World, chain, hash, key, nonce, sign, variant};

/// A message with this payload, correctly signed.
fn signed(payload: &str, signer: u8) -> String {
    format!(r#"{{"payload":{payload},"signature":"{}"}}"#, key(signer).sign(payload))
}

fn parse<O: Operation>(message: &str) -> Result<O, Error> {
    Received::<'_, O>::parse(message.as_bytes()).map(|received| received.request)
}

#[tokio::test]
async fn what_is_not_the_wire_form_is_malformed() {
    let world = World::new().await;
    let good = sign(&RotateDevice { authentication: world.rotation() }, 2);
    parse::<RotateDevice>(&good).expect("well formed");
    let payload = &good[r#"{"payload":"#.len()..good.rfind(r#","signature""#).expect("signed")];
    let device = format!(r#""device":"{}","#, world.device);
    let identity = format!(r#""identity":"{}","#, world.identity);
    let edit = |from: &str, to: &str| {
        let edited = payload.replacen(from, to, 1);
        assert_ne!(edited, payload, "{from}");
        signed(&edited, 2)
    };
    let cases = [
        ("nothing", String::new()),
        ("an array", "[]".to_owned()),
        ("something after it", format!("{good}x")),
        ("no signature", format!(r#"{{"payload":{payload}}}"#)),
        ("a payload that is text", good.replacen(payload, r#""x""#, 1)),
        ("an unknown member outside", good.replacen('{', r#"{"x":1,"#, 1)),
        ("an unknown member of the payload", edit(r#"{"access""#, r#"{"x":1,"access""#)),
        ("an unknown member of access", edit(r#"{"nonce""#, r#"{"a":1,"nonce""#)),
        (
            "an unknown member of request",
            edit(r#"{"authentication""#, r#"{"a":1,"authentication""#),
        ),
        ("an unknown member of authentication", edit(r#"{"device""#, r#"{"a":1,"device""#)),
        ("a missing member", edit(&device, "")),
        ("a member twice", edit(&device, &format!("{device}{device}"))),
        (
            "members out of order",
            edit(&format!("{device}{identity}"), &format!("{identity}{device}")),
        ),
        ("a blank", edit(r#","request""#, r#", "request""#)),
        ("a blank inside", edit(r#"{"device""#, r#"{ "device""#)),
        ("an escape", edit(r#"{"device":"E"#, r#"{"device":"\u0045"#)),
        (
            "a key as identity",
            edit(&identity, &format!(r#""identity":"{}","#, key(1).public_key())),
        ),
    ];
    for (name, message) in cases {
        let error = parse::<RotateDevice>(&message).expect_err(name);
        assert_eq!(variant(&error), "Malformed", "{name}");
        assert_eq!((error.status(), error.code()), (400, "BA101"), "{name}");
    }
    assert!(Received::<'_, RotateDevice>::parse(b"\xff").is_err(), "not UTF-8");
}

#[tokio::test]
async fn only_the_request_for_a_challenge_is_unsigned() {
    let world = World::new().await;
    let bare = client::Outgoing::request_session(world.identity, nonce(1)).text;
    assert!(
        bare.starts_with(r#"{"payload":{"access":{"nonce":"0A"#) && !bare.contains("signature")
    );
    let received = Received::<'_, RequestSession>::parse(bare.as_bytes()).expect("well formed");
    assert_eq!(variant(&received.verify(key(1).public_key()).expect_err("unsigned")), "Signature");
    parse::<RequestSession>(&sign(&received.request, 1)).expect_err("a signature too many");
}

/// Blanks around the payload and the order of the outer members are no part of what is signed.
#[tokio::test]
async fn the_envelope_is_free() {
    let world = World::new().await;
    let good = sign(&RotateDevice { authentication: world.rotation() }, 2);
    let payload = &good[r#"{"payload":"#.len()..good.rfind(r#","signature""#).expect("signed")];
    let loose =
        format!("{{ \"signature\": \"{}\", \"payload\": {payload} }}\n", key(2).sign(payload));
    let received = Received::<'_, RotateDevice>::parse(loose.as_bytes()).expect("well formed");
    received.verify(key(2).public_key()).expect("signed");
}

#[tokio::test]
async fn a_link_container_is_carried_to_the_byte() {
    let world = World::new().await;
    let container = client::link_container(world.identity, &chain(21));
    let handed_over = container.to_json();
    let link = LinkContainer::parse(&handed_over).expect("well formed");
    let message = sign(&LinkDevice { authentication: world.rotation(), link }, 2);
    assert!(message.contains(&format!(r#""link":{handed_over}}}}}"#)));
    let received: LinkDevice = parse(&message).expect("well formed");
    received.link.verify().expect("signed");
    let reordered = handed_over.replace(r#"{"payload""#, r#"{ "payload""#);
    parse::<LinkDevice>(&message.replace(&handed_over, &reordered)).expect_err("a blank");
}

#[test]
fn replies_are_bound_to_request_and_server() {
    let message = sign_reply(nonce(1), &Empty {}, &key(7));
    let open = || Reply::<'_, Empty>::parse(message.as_bytes()).expect("well formed");
    open().verify(key(7).public_key(), &nonce(1)).expect("all in order");
    let refusals = [
        (open().verify(key(7).public_key(), &nonce(2)), "Nonce"),
        (open().verify(key(8).public_key(), &nonce(1)), "ServerKey"),
    ];
    for (refusal, expected) in refusals {
        assert_eq!(variant(&refusal.expect_err(expected)), expected);
    }
    let renamed = message.replace(key(7).public_key().as_str(), key(8).public_key().as_str());
    let reply = Reply::<'_, Empty>::parse(renamed.as_bytes()).expect("well formed");
    let error = reply.verify(key(8).public_key(), &nonce(1)).expect_err("another signer");
    assert_eq!(variant(&error), "Signature");
    Reply::<'_, ChallengeReply>::parse(message.as_bytes()).expect_err("another response");
    Reply::<'_, Empty>::parse(Error::Hash.to_json().as_bytes()).expect_err("an error reply");
}

pub(crate) fn pack(json: &[u8]) -> String {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(json).expect("to memory");
    Base64UrlUnpadded::encode_string(&encoder.finish().expect("to memory"))
}

#[test]
fn what_is_not_a_token_is_malformed() {
    let signature = key(200).sign("x").to_string();
    let json = serde_json::to_string(&token()).expect("JSON");
    let with = |json: &str| format!("{signature}{}", pack(json.as_bytes()));
    ReceivedToken::decode(&with(&json)).expect("well formed");
    let two_members = {
        let member = Base64UrlUnpadded::decode_vec(&pack(json.as_bytes())).expect("base64url");
        Base64UrlUnpadded::encode_string(&[member.clone(), member].concat())
    };
    let attributes = |attributes: &str| {
        let at = json.find(r#""attributes":"#).expect("the last member");
        with(&format!(r#"{}"attributes":{attributes}}}"#, &json[..at]))
    };
    ReceivedToken::decode(&attributes(r#"{"x":[1,{"y":null}]}"#)).expect("any attributes");
    let cases = [
        ("nothing", String::new(), "too short"),
        ("only a signature", signature.clone(), "not gzip"),
        ("no signature", format!("{}{}", "x".repeat(88), pack(json.as_bytes())), "no signature"),
        ("a split character", "é".repeat(100), "no signature"),
        ("an odd split", format!("x{}", "é".repeat(100)), "too short"),
        ("padding", format!("{}=", with(&json)), "not base64url"),
        (
            "not gzip",
            format!("{signature}{}", Base64UrlUnpadded::encode_string(b"abc")),
            "not gzip",
        ),
        ("cut off", with(&json)[..400].to_owned(), "not gzip"),
        ("something behind it", format!("{signature}{two_members}"), "followed by something"),
        ("a long text", format!("{signature}{}", "A".repeat(17_000)), "too long"),
        ("a bomb", attributes(&format!("{{\"x\":\"{}\"}}", "a".repeat(9_000_000))), "too much"),
        ("no JSON", with("x"), "Payload"),
        ("an unknown member", with(&json.replacen('{', r#"{"x":1,"#, 1)), "Json"),
        ("a blank", with(&json.replacen(':', ": ", 1)), "Blank"),
        ("a blank in the attributes", attributes(r#"{"x": 1}"#), "Blank"),
        ("a name twice in the attributes", attributes(r#"{"x":1,"x":2}"#), "DuplicateName"),
        ("members out of order", with(&out_of_order(&json)), "members out of order"),
        ("a time without fraction", with(&json.replacen(".000Z", "Z", 1)), "Json"),
    ];
    for (name, token, reason) in cases {
        let error = ReceivedToken::decode(&token).expect_err(name);
        assert_eq!(variant(&error), "Malformed", "{name}");
        assert!(format!("{error:?}").contains(reason), "{name}: {error:?}");
    }
}

fn token() -> AccessToken {
    AccessToken {
        server_identity: *key(200).public_key(),
        device: hash(1),
        identity: hash(2),
        public_key: *key(41).public_key(),
        rotation_hash: hash(42),
        issued_at: crate::world::at(0),
        expiry: crate::world::at(1),
        refresh_expiry: crate::world::at(2),
        attributes: hsmd_protocol::Attributes::user(),
    }
}

/// Device and identity have values of one form, so swapping their names swaps the members.
fn out_of_order(json: &str) -> String {
    let swapped = json.replace("\"device\"", "\"x\"").replace("\"identity\"", "\"device\"");
    swapped.replace("\"x\"", "\"identity\"")
}

proptest! {
    /// Whatever comes in, the parsers answer.
    #[test]
    fn parsers_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in ".{0,200}") {
        let _ = Received::<'_, CreateAccount>::parse(&bytes);
        let _ = Reply::<'_, Empty>::parse(&bytes);
        let _ = ReceivedToken::decode(&text);
    }

    /// No byte of a message can be another one.
    #[test]
    fn a_changed_message_is_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let new = client::new_account(&chain(1), hash(100));
        let mut message = sign(&CreateAccount { authentication: new }, 1).into_bytes();
        let at = at.index(message.len());
        prop_assume!(message[at] != byte);
        message[at] = byte;
        let accepted = Received::<'_, CreateAccount>::parse(&message)
            .and_then(|received| received.verify(&received.request.authentication.public_key));
        prop_assert!(accepted.is_err(), "{}", String::from_utf8_lossy(&message));
    }

    /// A changed token says nothing else: gzip has bytes without meaning, the signed text has none.
    #[test]
    fn a_changed_token_says_nothing_else(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let good = token().encode(&key(200)).expect("its key");
        let mut changed = good.clone().into_bytes();
        let at = at.index(changed.len());
        changed[at] = byte;
        let accepted = String::from_utf8(changed).ok().and_then(|changed| {
            ReceivedToken::decode(&changed).and_then(ReceivedToken::verify).ok()
        });
        if let Some(accepted) = accepted {
            let text = |token| serde_json::to_string(token).expect("JSON");
            prop_assert_eq!(text(&accepted), text(&token()));
        }
    }
}
