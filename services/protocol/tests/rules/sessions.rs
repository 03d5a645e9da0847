//! The checks of sessions, each violated once, and the life of a challenge and a token.

use crate::world::{ACCESS, World, at, chain, hash, key, nonce, refused, sign, variant};
use hsmd_protocol::{
    AccessToken, CreateSession, DeleteAccount, DeviceReference, Operation, ReceivedToken,
    RefreshSession, RequestSession, UnlinkDevice, client::Outgoing,
};

const SESSION: u8 = 41;

impl World {
    async fn challenge(&mut self, number: u8) {
        let request = Outgoing::request_session(self.identity, nonce(number)).text;
        self.post(RequestSession::ROUTE, &request).await.expect("always");
    }

    fn answer(&self, challenge: u8, signer: u8) -> String {
        let (challenge, session) = (nonce(challenge), chain(SESSION));
        let key = key(signer);
        Outgoing::create_session(self.device, challenge, &session, nonce(2), &key).text
    }

    async fn token(&mut self) -> String {
        self.challenge(1).await;
        let answer = self.answer(1, 1);
        self.post(CreateSession::ROUTE, &answer).await.expect("a session")
    }
}

fn refresh(token: &str, place: usize) -> String {
    let session = chain(SESSION);
    let reveal = session.reveal(place).expect("four keys");
    Outgoing::refresh_session(token.to_owned(), &reveal, nonce(3)).text
}

fn claims(token: &str) -> AccessToken {
    ReceivedToken::decode(token).expect("decodes").verify().expect("signed")
}

#[tokio::test]
async fn a_session_begins_and_goes_on() {
    let mut world = World::new().await;
    let token = world.token().await;
    let first = claims(&token);
    assert_eq!((first.device, first.identity), (world.device, world.identity));
    assert_eq!((first.issued_at, first.expiry), (at(0), at(15 * 60_000)));
    assert_eq!(first.refresh_expiry, at(12 * 3_600_000));
    assert_eq!((first.public_key, first.rotation_hash), (*key(41).public_key(), hash(42)));

    let later = at(12 * 3_600_000);
    let next = world.post_at(RefreshSession::ROUTE, &refresh(&token, 1), later).await;
    let next = claims(&next.expect("the last millisecond"));
    assert_eq!((next.public_key, next.rotation_hash), (*key(42).public_key(), hash(43)));
    assert_eq!(next.refresh_expiry, first.refresh_expiry);
    assert_eq!(next.issued_at, later);
    assert!(next.attributes.permit("user", "write"));
}

#[tokio::test]
async fn a_challenge_is_good_once_and_for_a_minute() {
    let mut world = World::new().await;
    world.challenge(1).await;
    let answer = world.answer(1, 1);
    let mut late = world.clone();
    let error = late.post_at(CreateSession::ROUTE, &answer, at(60_001)).await;
    assert_eq!(variant(&error.expect_err("too old")), "Challenge");
    world.post_at(CreateSession::ROUTE, &answer, at(60_000)).await.expect("a minute old");
    let again = world.post(CreateSession::ROUTE, &answer).await;
    assert_eq!(variant(&again.expect_err("used")), "Challenge");
}

#[tokio::test]
async fn a_challenge_is_used_up_by_a_wrong_answer() {
    let mut world = World::new().await;
    world.challenge(1).await;
    let (wrong, right) = (world.answer(1, 2), world.answer(1, 1));
    let error = world.post(CreateSession::ROUTE, &wrong).await.expect_err("the next key");
    assert_eq!(variant(&error), "Signature");
    let error = world.post(CreateSession::ROUTE, &right).await.expect_err("used up");
    assert_eq!(variant(&error), "Challenge");
}

#[tokio::test]
async fn a_challenge_is_for_one_account() {
    let mut world = World::new().await;
    let unknown = Outgoing::request_session(hash(9), nonce(1)).text;
    world.post(RequestSession::ROUTE, &unknown).await.expect("tells nothing");
    assert!(world.store.challenges.is_empty());
    let answer = world.answer(1, 1);
    refused(&world, CreateSession::ROUTE, &[("never given", answer, "Challenge")]).await;

    world.challenge(1).await;
    let mut stranger = world.clone();
    stranger.device = hash(9);
    let error = stranger.post(CreateSession::ROUTE, &stranger.answer(1, 1)).await;
    assert_eq!(variant(&error.expect_err("not its device")), "DeviceUnknown");
}

#[tokio::test]
async fn a_deleted_account_gets_no_challenge() {
    let mut world = World::new().await;
    let delete = sign(&DeleteAccount { authentication: world.rotation() }, 2);
    world.challenge(1).await;
    world.post(DeleteAccount::ROUTE, &delete).await.expect("a deletion");
    let error = world.post(CreateSession::ROUTE, &world.answer(1, 2)).await;
    assert_eq!(variant(&error.expect_err("deleted meanwhile")), "IdentityUnknown");
    world.challenge(2).await;
    assert!(world.store.challenges.is_empty());
}

#[tokio::test]
async fn a_revoked_device_gets_no_session() {
    let mut world = World::new().await;
    let token = world.token().await;
    let link = DeviceReference { device: world.device };
    let unlink = sign(&UnlinkDevice { authentication: world.rotation(), link }, 2);
    world.post(UnlinkDevice::ROUTE, &unlink).await.expect("an unlinking");
    let cases = [("refresh", refresh(&token, 1), "DeviceRevoked")];
    refused(&world, RefreshSession::ROUTE, &cases).await;
    world.challenge(1).await;
    let error = world.post(CreateSession::ROUTE, &world.answer(1, 2)).await;
    assert_eq!(variant(&error.expect_err("revoked")), "DeviceRevoked");
}

#[tokio::test]
async fn refresh_session() {
    let mut world = World::new().await;
    let token = world.token().await;
    let claims = claims(&token);
    let signed = |change: fn(&mut AccessToken), signer: u8| {
        let mut claims = claims.clone();
        claims.server_identity = *key(signer).public_key();
        change(&mut claims);
        refresh(&claims.encode(&key(signer)).expect("its key"), 1)
    };
    let other = signed(|_| {}, 201);
    let tampered = {
        let longer = AccessToken { refresh_expiry: at(24 * 3_600_000), ..claims.clone() };
        let longer = longer.encode(&key(ACCESS)).expect("its key");
        format!("{}{}", &token[..88], &longer[88..])
    };
    let stolen = {
        let session = chain(SESSION);
        let mut reveal = session.reveal(1).expect("four keys");
        let thief = key(77);
        reveal.key = &thief;
        Outgoing::refresh_session(token.clone(), &reveal, nonce(3)).text
    };
    let (revealed, current) = (key(42), key(41));
    let swapped =
        refresh(&token, 1).replace(revealed.public_key().as_str(), current.public_key().as_str());
    let cases = [
        ("signed by another key than it reveals", swapped, "Signature"),
        ("no token", refresh("", 1), "Malformed"),
        ("a server key that is not endorsed", other, "ServerKey"),
        ("a tampered token", refresh(&tampered, 1), "Signature"),
        ("an uncommitted key", stolen, "Hash"),
        ("the key after the next", refresh(&token, 2), "Hash"),
        ("an unknown account", signed(|t| t.identity = hash(9), ACCESS), "IdentityUnknown"),
        ("another account's device", signed(|t| t.device = hash(9), ACCESS), "DeviceUnknown"),
        ("too late", signed(|t| t.refresh_expiry = at(-1), ACCESS), "TokenExpired"),
    ];
    refused(&world, RefreshSession::ROUTE, &cases).await;

    let message = refresh(&token, 1);
    world.post(RefreshSession::ROUTE, &message).await.expect("a refresh");
    refused(&world, RefreshSession::ROUTE, &[("replayed", message, "RefreshUsed")]).await;
}
