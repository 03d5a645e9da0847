//! JSON Web Tokens of any service: its key is endorsed for `jwt`, Redis has the endorsement, and the keys service
//! shows it to JOSE libraries.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use hsmd_chain::{PublicKey, Signature};
use hsmd_client::Endorser;
use hsmd_service::{Hsm, random};
use hsmd_store::{Jwt, Publication, Publisher, Purpose as _, Store};
use hsmd_tests::{Output, RedisServer, RunningHsm, RunningService, program, until};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::fleet::user::Http;

const HOUR: Duration = Duration::from_secs(3600);

/// A service whose key signs tokens.
struct Issuer {
    key: hsmd_protocol::PrivateKey,
    endorser: Endorser,
    _publisher: Publisher,
}

impl Issuer {
    fn start(hsm: &Hsm, store: &Store) -> Self {
        let key = random::key();
        let kid = *key.public_key();
        let endorser = Endorser::start(&hsm.client, hsm.log.clone(), Jwt::NAME, kid, HOUR);
        let publication =
            move |endorsement: &std::sync::Arc<hsmd_client::Endorsement>| Publication {
                key: kid,
                endorsement: endorsement.to_json(),
                expires_at: endorsement.expiration(),
            };
        let updates = endorser.subscribe();
        let often = Duration::from_millis(100);
        let publisher =
            Publisher::spawn(store.jwt_endorsements.clone(), updates, publication, often);
        Self { key, endorser, _publisher: publisher }
    }

    fn token(&self, lifetime: Duration) -> Option<String> {
        let claims = json!({"sub": "ann", "exp": 1});
        self.endorser.sign_token(&claims, lifetime, |text| self.key.sign(text)).ok()
    }

    fn kid(&self) -> &str {
        self.key.public_key().as_str()
    }
}

/// The kids of a JWKS.
async fn kids(keys: &Http) -> Option<Vec<String>> {
    let (status, body) = keys.get("/jwks").await;
    let body: Value = serde_json::from_slice(&body).ok()?;
    let kids = body["keys"].as_array()?.iter().map(|key| key["kid"].as_str().unwrap().to_owned());
    (status == 200).then(|| kids.collect())
}

/// What a JOSE library does: finds the key by its kid, makes it of x and y, verifies, reads the claims.
async fn verified(keys: &Http, token: &str) -> Option<Value> {
    let (_, jwks) = keys.get("/jwks").await;
    let jwks: Value = serde_json::from_slice(&jwks).unwrap();
    let decode = |text: &str| Base64UrlUnpadded::decode_vec(text).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let header: Value = serde_json::from_slice(&decode(header)).unwrap();
    assert_eq!((&header["alg"], &header["typ"]), (&json!("ES256"), &json!("JWT")));
    let found = jwks["keys"].as_array()?.iter().find(|key| key["kid"] == header["kid"])?;
    assert_eq!((&found["kty"], &found["crv"]), (&json!("EC"), &json!("P-256")));
    let coordinate = |name: &str| decode(found[name].as_str().unwrap());
    let point = [&[4][..], &coordinate("x"), &coordinate("y")].concat();
    let signature = Signature::from_bytes(&decode(signature).try_into().unwrap()).unwrap();
    PublicKey::from_sec1(&point).unwrap().verify(signed.as_bytes(), &signature).ok()?;
    serde_json::from_slice(&decode(claims)).ok()
}

#[tokio::test]
async fn tokens_of_any_service_verify_until_a_taint() {
    let hsmd = RunningHsm::start().await;
    let redis = RedisServer::start().await.unwrap();
    let store = redis.store().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let hsm = format!(
        "identity = \"{}\"\nendpoint = \"{}\"\nmax_staleness = \"15s\"\n",
        hsmd.identity,
        hsmd.endpoint()
    );
    let config = format!(
        "[http]\nlisten = \"127.0.0.1:0\"\n[redis]\nurl = \"{}\"\ntimeout = \"5s\"\n[hsm]\n{hsm}",
        redis.url()
    );
    let running = RunningService::start("keys", folder.path(), &config).await;
    let keys = Http::new(&running.url);
    let view = Hsm::connect(&toml::from_str(&hsm).unwrap()).unwrap();
    until("an empty list", async || kids(&keys).await == Some(vec![])).await;

    // A key that signs replies is in the same database, and one that is endorsed for jwt in another's name.
    let other = *random::key().public_key();
    let reply = hsmd.endorse("response", &other, HOUR).await;
    let stolen = hsmd.endorse("jwt", &other, HOUR).await;
    let far = "2999-01-01T00:00:00.000Z".parse().unwrap();
    store.response_endorsements.publish(&other, &reply, far).await.unwrap();
    let thief = *random::key().public_key();
    store.response_endorsements.publish(&thief, &stolen, far).await.unwrap();
    let issuers = [Issuer::start(&view, &store), Issuer::start(&view, &store)];
    let mut expected = issuers.each_ref().map(|issuer| issuer.kid().to_owned()).to_vec();
    expected.sort_unstable();
    until("both keys", async || kids(&keys).await.as_ref() == Some(&expected)).await;

    let token = issuers[0].token(15 * Duration::from_secs(60)).unwrap();
    let claims = verified(&keys, &token).await.unwrap();
    assert_eq!(claims["sub"], "ann");
    let lives = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert!((899..=900).contains(&lives), "{claims}");
    // Never longer than the endorsement.
    let long_token = issuers[1].token(48 * HOUR).unwrap();
    let long = verified(&keys, &long_token).await.unwrap();
    let lives = long["exp"].as_i64().unwrap() - long["iat"].as_i64().unwrap();
    assert!((3000..=3600).contains(&lives), "{long}");
    let (signed, signature) =
        (token.rsplit_once('.').unwrap().0, long_token.rsplit_once('.').unwrap().1);
    assert_eq!(
        verified(&keys, &format!("{signed}.{signature}")).await,
        None,
        "another's signature"
    );

    // hsmctl takes it back to the HSM.
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let log = hsmd.daemon().log().await.to_json();
    let mut hsmctl = Command::new(program("hsmctl"));
    hsmctl.args(["verify", "--identity", &hsmd.identity]);
    hsmctl.arg("--log").arg(file("log.json", log.as_bytes()));
    hsmctl.arg("--jwks").arg(file("jwks.json", &keys.get("/jwks").await.1));
    hsmctl.arg("--jwt").arg(file("token", token.as_bytes()));
    let said = Output::of(&mut hsmctl).await.good();
    assert!(said.contains("ann"), "{said}");

    // A rotation keeps tokens, a taint ends them: those who can't be endorsed any more are gone.
    hsmd.daemon().rotate_head().await;
    let head = hsmd.daemon().head().await.event().id();
    for issuer in &issuers {
        until("endorsed anew", async || {
            issuer.endorser.current().is_some_and(|it| it.generation_id() == head)
        })
        .await;
    }
    until("both keys", async || kids(&keys).await.as_ref() == Some(&expected)).await;
    assert!(verified(&keys, &token).await.is_some());
    let [left, gone] = issuers;
    let gone_kid = gone.kid().to_owned();
    drop(gone);
    hsmd.daemon().taint_head().await;
    let left_kid = left.kid().to_owned();
    until("the tainted key is gone", async || {
        kids(&keys).await.is_some_and(|kids| !kids.contains(&gone_kid))
    })
    .await;
    until("the other one is back", async || kids(&keys).await == Some(vec![left_kid.clone()]))
        .await;
    assert!(verified(&keys, &left.token(HOUR).unwrap()).await.is_some());
    let id = left.key.public_key();
    drop(left.endorser);
    drop(left._publisher);
    hsmd.daemon().taint_head().await;
    until("a taint empties it", async || kids(&keys).await == Some(vec![])).await;
    assert!(store.jwt_endorsements.find(id).await.unwrap().is_some(), "Redis still has it");
}

#[tokio::test]
async fn a_list_that_may_hide_a_taint_is_not_served() {
    let mut hsmd = RunningHsm::start().await;
    let redis = RedisServer::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "[http]\nlisten = \"127.0.0.1:0\"\n[redis]\nurl = \"{}\"\ntimeout = \"5s\"\n\
         [hsm]\nidentity = \"{}\"\nendpoint = \"{}\"\nmax_staleness = \"11s\"\n",
        redis.url(),
        hsmd.identity,
        hsmd.endpoint()
    );
    let running = RunningService::start("keys", folder.path(), &config).await;
    let keys = Http::new(&running.url);
    until("an empty list", async || kids(&keys).await == Some(vec![])).await;
    hsmd.kill().await;
    until("no list", async || keys.get("/jwks").await.0 == 503).await;
    hsmd.serve().await;
    until("a list again", async || kids(&keys).await == Some(vec![])).await;
}
