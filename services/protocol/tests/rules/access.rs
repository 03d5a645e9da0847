//! The checks of an application, each violated once.

use hsmd_chain::time::Timestamp;
use hsmd_protocol::{
    AccessToken, Attributes, Error, WireTime,
    access::{self, AccessMembers, AccessWindow, Required, VerifiedAccess},
    client,
};

use crate::{
    memory::{Endorsed, Remembered},
    wire::pack,
    world::{ACCESS, at, hash, key, nonce, variant},
};

/// The key that signs access requests.
const HOLDER: u8 = 41;
const REQUEST: &str = r#"{"foo":"bar","bar":"foo"}"#;
const USER_MAY_READ: Required<'_> = Required { role: "user", permission: "read" };

fn token() -> AccessToken {
    AccessToken {
        server_identity: *key(ACCESS).public_key(),
        device: hash(1),
        identity: hash(2),
        public_key: *key(HOLDER).public_key(),
        rotation_hash: hash(42),
        issued_at: at(0),
        expiry: at(15 * 60_000),
        refresh_expiry: at(12 * 3_600_000),
        attributes: Attributes::user(),
    }
}

fn encoded(change: impl FnOnce(&mut AccessToken)) -> String {
    let mut token = token();
    change(&mut token);
    token.encode(&key(ACCESS)).expect("its key")
}

fn request(token: String, timestamp: impl Into<WireTime>, signer: u8) -> String {
    let access = AccessMembers { nonce: nonce(1), timestamp: timestamp.into(), token };
    client::access_request(&access, REQUEST, &key(signer)).expect("JSON")
}

async fn verify<'a>(
    message: &'a str,
    store: &Remembered,
    now: Timestamp,
) -> Result<VerifiedAccess<'a>, Error> {
    let servers = Endorsed([*key(ACCESS).public_key()].into());
    let window = AccessWindow::default();
    access::verify(message.as_bytes(), &servers, store, USER_MAY_READ, window, now).await
}

async fn refusal(message: &str, store: &Remembered, now: Timestamp) -> String {
    variant(&verify(message, store, now).await.expect_err("refused"))
}

#[tokio::test]
async fn a_good_request_comes_through_as_it_was_sent() {
    let message = request(encoded(|_| {}), at(0), HOLDER);
    let access = verify(&message, &Remembered::default(), at(0)).await.expect("all in order");
    assert_eq!((access.request(), access.nonce()), (REQUEST, nonce(1)));
    assert_eq!(access.token().device, hash(1));
}

/// As published clients write their requests, and published servers their tokens.
#[tokio::test]
async fn times_with_nine_digits_are_read_as_milliseconds() {
    let now = at(60_000);
    let finer = |time: Timestamp| {
        time.to_string().replace('Z', "999999Z").parse::<WireTime>().expect("nine digits")
    };
    let signed_anew = |change: &dyn Fn(String) -> String| {
        let text = change(serde_json::to_string(&token()).expect("JSON"));
        let packed = pack(text.as_bytes());
        format!("{}{packed}", key(ACCESS).sign(&text))
    };
    let nine = signed_anew(&|text| text.replace(".000Z", ".000999999Z"));
    assert!(nine.len() > 88);
    for (message, expected) in [
        (request(nine.clone(), finer(now), HOLDER), None),
        (request(nine, finer(at(30_000)), HOLDER), None),
        (request(encoded(|_| {}), finer(at(29_999)), HOLDER), Some("StaleRequest")),
        (request(encoded(|_| {}), finer(at(65_000)), HOLDER), None),
        (request(encoded(|_| {}), finer(at(65_001)), HOLDER), Some("FutureRequest")),
    ] {
        let store = Remembered::default();
        let outcome = verify(&message, &store, now).await.err().map(|error| variant(&error));
        assert_eq!(outcome.as_deref(), expected, "{message}");
        if outcome.is_none() {
            assert_eq!(refusal(&message, &store, now).await, "StaleRequest", "its nonce is used");
        }
    }
    // What was signed is what was sent: with fewer digits it is another text.
    let message = request(encoded(|_| {}), finer(now), HOLDER).replace("999999Z", "Z");
    assert_eq!(refusal(&message, &Remembered::default(), now).await, "Signature");
}

#[tokio::test]
async fn each_check_refuses() {
    let now = at(60_000);
    let foreign = {
        let mut token = token();
        token.server_identity = *key(201).public_key();
        token.encode(&key(201)).expect("its key")
    };
    let swapped = {
        let (ours, other) = (encoded(|_| {}), encoded(|t| t.expiry = at(24 * 3_600_000)));
        format!("{}{}", &ours[..88], &other[88..])
    };
    let cases = [
        ("not a token", request("x".to_owned(), now, HOLDER), "Malformed"),
        ("a server key that is not endorsed", request(foreign, now, HOLDER), "ServerKey"),
        ("a tampered token", request(swapped, now, HOLDER), "Signature"),
        (
            "a token from the future",
            request(encoded(|t| t.issued_at = at(65_001)), now, HOLDER),
            "TokenFromFuture",
        ),
        (
            "an expired token",
            request(encoded(|t| t.expiry = at(59_999)), now, HOLDER),
            "TokenExpired",
        ),
        ("signed by another key", request(encoded(|_| {}), now, 42), "Signature"),
        ("stale", request(encoded(|_| {}), at(29_999), HOLDER), "StaleRequest"),
        ("from the future", request(encoded(|_| {}), at(65_001), HOLDER), "FutureRequest"),
        (
            "no permission",
            request(encoded(|t| t.attributes = nothing()), now, HOLDER),
            "Unauthorized",
        ),
    ];
    for (name, message, expected) in cases {
        assert_eq!(refusal(&message, &Remembered::default(), now).await, expected, "{name}");
    }
}

/// Attributes that permit nothing, as another server may write them.
fn nothing() -> Attributes {
    serde_json::from_str(r#"{"permissionsByRole":{"user":["write"],"admin":["read"]}}"#)
        .expect("JSON")
}

#[tokio::test]
async fn the_bounds_of_time_are_inclusive() {
    let now = at(60_000);
    for message in [
        request(encoded(|t| t.issued_at = at(65_000)), now, HOLDER),
        request(encoded(|t| t.expiry = now), now, HOLDER),
        request(encoded(|_| {}), at(30_000), HOLDER),
        request(encoded(|_| {}), at(65_000), HOLDER),
    ] {
        verify(&message, &Remembered::default(), now).await.expect("just in time");
    }
}

#[tokio::test]
async fn what_the_stores_say_counts() {
    let message = request(encoded(|_| {}), at(0), HOLDER);
    let store = Remembered::default();
    verify(&message, &store, at(0)).await.expect("the first time");
    assert_eq!(refusal(&message, &store, at(0)).await, "StaleRequest");

    let store = Remembered { revoked: [hash(1)].into(), ..Remembered::default() };
    assert_eq!(refusal(&message, &store, at(0)).await, "DeviceRevoked");
    let store = Remembered { away: true, ..Remembered::default() };
    assert_eq!(refusal(&message, &store, at(0)).await, "Unavailable");
}

#[tokio::test]
async fn a_refused_request_does_not_use_its_nonce_up() {
    let store = Remembered::default();
    let forged = request(encoded(|_| {}), at(0), 42);
    assert_eq!(refusal(&forged, &store, at(0)).await, "Signature");
    verify(&request(encoded(|_| {}), at(0), HOLDER), &store, at(0)).await.expect("still fresh");
}

#[test]
fn error_bodies() {
    assert_eq!(access::refusal(&Error::DeviceRevoked), r#"{"error":"device revoked"}"#);
    assert_eq!(access::refusal(&Error::Unauthorized), r#"{"error":"unauthorized"}"#);
    assert_eq!(
        access::refusal(&Error::TokenExpired),
        r#"{"error":{"code":"BA401","message":"the access token has expired","context":{}}}"#
    );
}
