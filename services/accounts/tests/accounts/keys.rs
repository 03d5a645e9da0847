//! Tokens and the keys that sign them: publication, taint, withdrawal, restarts.

use base64ct::{Base64UrlUnpadded, Encoding as _};
use hsmd_chain::PublicKey;
use serde_json::{Value, json};

use crate::{
    client::{Answer, Browser, Http},
    stack::{PAGE, Replica, Settings, Stack, secret, wait_for},
};

fn kids(http: &Http) -> Vec<String> {
    let answer = http.get("/api/auth/jwks");
    assert_eq!(answer.status, 200, "{answer:?}");
    kids_of(&answer)
}

fn kids_of(answer: &Answer) -> Vec<String> {
    let keys = answer.json()["keys"].as_array().expect("a list").clone();
    keys.iter().map(|key| key["kid"].as_str().expect("a kid").to_owned()).collect()
}

fn part(token: &str, number: usize) -> Value {
    let part = token.split('.').nth(number).expect("a part");
    serde_json::from_slice(&Base64UrlUnpadded::decode_vec(part).expect("base64url")).expect("JSON")
}

fn kid(token: &str) -> String {
    part(token, 0)["kid"].as_str().expect("a kid").to_owned()
}

/// Whether a gateway believes a token.
fn is_valid(http: &Http, token: &str) -> bool {
    let answer = validate(http, &secret('g'), token);
    assert!([200, 401].contains(&answer.status), "{answer:?}");
    answer.status == 200
}

fn validate(http: &Http, secret: &str, token: &str) -> Answer {
    let headers = [("x-gateway-auth", secret), ("content-type", "application/json")];
    let body = json!({"token": token}).to_string();
    http.send("POST", "/api/internal/validate", &headers, Some(&body))
}

fn user(http: &Http, secret: &str, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("x-service-auth", secret), ("authorization", bearer.as_str())];
    http.send("GET", "/api/internal/user", &headers, None)
}

#[test]
fn a_token_and_its_key() {
    let stack = Stack::start();
    let accounts = stack.accounts();
    let http = &accounts.http;
    let ann = Browser::sign_up(http, "ann@example.com");
    let token = ann.token();
    let jwks = http.get("/api/auth/jwks");
    let keys = jwks.json()["keys"].clone();
    let key = &keys[0];
    assert_eq!(
        (keys.as_array().map(Vec::len), kid(&token)),
        (Some(1), key["kid"].as_str().expect("text").to_owned())
    );
    for (name, value) in [("kty", "EC"), ("crv", "P-256"), ("alg", "ES256"), ("use", "sig")] {
        assert_eq!(key[name], value);
    }
    assert_eq!(part(&token, 0), json!({"alg": "ES256", "kid": key["kid"]}));
    let claims = part(&token, 1);
    let session = ann.get("/get-session");
    let user_now = session.json()["user"].clone();
    for (name, value) in user_now.as_object().expect("a user") {
        assert_eq!(&claims[name], value, "{name}");
    }
    assert_eq!(
        (&claims["sub"], &claims["iss"], &claims["aud"]),
        (&user_now["id"], &json!("http://127.0.0.1:8031"), &json!("http://127.0.0.1:8031"))
    );
    assert_eq!(
        claims["exp"].as_i64().expect("a time") - claims["iat"].as_i64().expect("a time"),
        900
    );

    // Its signature is by the point that x and y give, which is the kid's.
    let coordinate = |name: &str| {
        Base64UrlUnpadded::decode_vec(key[name].as_str().expect("text")).expect("base64url")
    };
    let point = [&[4][..], &coordinate("x"), &coordinate("y")].concat();
    let public = PublicKey::from_sec1(&point).expect("a point");
    assert_eq!(public.as_str(), key["kid"]);
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let signature: [u8; 64] =
        Base64UrlUnpadded::decode_vec(signature).expect("base64url").try_into().expect("64 bytes");
    let signature = hsmd_chain::Signature::from_bytes(&signature).expect("a signature");
    public.verify(signed.as_bytes(), &signature).expect("it verifies");
    // The endorsement is in the list as it was published, byte for byte.
    let stored = stack.value("SELECT endorsement FROM keys");
    assert!(jwks.body.contains(&format!("\"hsmd\":{stored}")), "{}", jwks.body);

    assert_eq!(jwks.header("cache-control"), "max-age=15");
    let etag = jwks.header("etag").to_owned();
    let again = http.send("GET", "/api/auth/jwks", &[("if-none-match", &etag)], None);
    assert_eq!((again.status, again.body.as_str(), again.header("etag")), (304, "", etag.as_str()));
    // Remembered for the session; new when the user changes.
    let remembered = session.header("set-auth-jwt").to_owned();
    assert_eq!(ann.get("/get-session").header("set-auth-jwt"), remembered);
    ann.post("/update-user", &json!({"name": "Anna"}));
    let new = ann.get("/get-session").header("set-auth-jwt").to_owned();
    assert_eq!((part(&new, 1)["name"].clone(), new == remembered), (json!("Anna"), false));
    assert_eq!(http.post("/token", &json!({})).status, 401);
    assert_eq!(ann.post("/token", &json!({})).status, 200);
}

#[test]
fn gateways_and_services() {
    let stack = Stack::start();
    let accounts = stack.accounts();
    let http = &accounts.http;
    let ann = Browser::sign_up(http, "ann@example.com");
    let token = ann.token();
    for secret in [secret('g'), secret('h')] {
        let answer = validate(http, &secret, &token);
        assert_eq!((answer.status, &answer.json()["valid"]), (200, &json!(true)));
        assert_eq!(answer.at("/user/email"), "ann@example.com");
        assert_eq!(answer.at("/user/id"), answer.at("/payload/sub"));
    }
    let bearer = format!("Bearer {token}");
    let headers = [("x-gateway-auth", &*secret('g')), ("authorization", &*bearer)];
    assert_eq!(http.send("POST", "/api/internal/validate", &headers, None).status, 200);
    for wrong in [secret('s'), secret('x'), String::new(), secret('g').repeat(2)] {
        assert_eq!(validate(http, &wrong, &token).status, 403, "{wrong}");
    }
    for wrong in [secret('g'), secret('x'), String::new()] {
        assert_eq!(user(http, &wrong, &token).status, 403, "{wrong}");
    }
    let (head, signature) = token.rsplit_once('.').expect("three parts");
    let (header, claims) = head.split_once('.').expect("three parts");
    let none = Base64UrlUnpadded::encode_string(br#"{"alg":"none"}"#);
    let unknown = Base64UrlUnpadded::encode_string(
        format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "x".repeat(48)).as_bytes(),
    );
    let other = Base64UrlUnpadded::encode_string(br#"{"sub":"root","exp":99999999999}"#);
    for bad in [
        String::new(),
        "nonsense".to_owned(),
        head.to_owned(),
        format!("{none}.{claims}."),
        format!("{header}.{other}.{signature}"),
        format!("{unknown}.{claims}.{signature}"),
        format!("{header}.{claims}.{}", "A".repeat(86)),
        format!("{token}="),
        format!("{token}.x"),
    ] {
        let answer = validate(http, &secret('g'), &bad);
        assert_eq!((answer.status, answer.body.as_str()), (401, r#"{"valid":false}"#), "{bad}");
        assert_eq!(user(http, &secret('s'), &bad).status, 401, "{bad}");
    }
    ann.post("/update-user", &json!({"name": "Anna"}));
    assert_eq!(user(http, &secret('s'), &token).at("/user/name"), "Anna", "as they are now");
    assert_eq!(validate(http, &secret('g'), &token).at("/user/name"), "Ann", "as the token says");
    ann.post("/delete-user", &json!({"password": crate::client::PASSWORD}));
    assert_eq!(user(http, &secret('s'), &token).status, 404);
    assert!(is_valid(http, &token), "a token lives until it expires");

    // Another issuer's token is refused though it is by a live key.
    let site = format!("public_url = \"http://localhost:1\"\ntrusted_origins = [\"{PAGE}\"]\n");
    let other = stack.accounts_with(&Settings { site, ..Settings::default() }).ready();
    let bob = Browser::sign_up(&other.http, "bob@example.com");
    assert!(is_valid(&other.http, &bob.token()) && !is_valid(http, &bob.token()));
}

/// Both replicas ready, each with its key in both lists.
fn pair(stack: &Stack) -> [Replica; 2] {
    let replicas = [stack.accounts(), stack.accounts()];
    wait_for("both keys in both lists", || {
        replicas.iter().all(|it| kids(&it.http).len() == 2).then_some(())
    });
    replicas
}

#[test]
fn a_taint_empties_the_list_and_the_same_keys_come_back() {
    let stack = Stack::start();
    let replicas = pair(&stack);
    let ann = Browser::sign_up(&replicas[0].http, "ann@example.com");
    let tokens = [ann.token(), ann.at(&replicas[1].http).token()];
    assert_ne!(kid(&tokens[0]), kid(&tokens[1]));
    let before = kids(&replicas[0].http);
    // A key that somebody had endorsed with the stolen HSM key, and put into the table.
    let thief = hsmd_service::random::key();
    let endorsed = stack.runtime.block_on(stack.hsm.endorse(
        "jwt",
        thief.public_key(),
        std::time::Duration::from_secs(3000),
    ));
    stack.sql(&format!(
        "INSERT INTO keys (kid, endorsement, first_listed_at, heartbeat_at, stopped_at, listed_until) \
         VALUES ('{}', '{endorsed}', now(), now(), now(), now() + interval '1 hour')",
        thief.public_key()
    ));
    wait_for("the thief's key to be listed", || (kids(&replicas[1].http).len() == 3).then_some(()));

    let endorsed_by =
        |replica: &Replica| replica.http.get("/health/key").json()["generationId"].clone();
    let tainted = endorsed_by(&replicas[0]);
    assert!(tainted.is_string() && tainted == endorsed_by(&replicas[1]), "{tainted}");

    stack.taint();
    wait_for("the list without the thief's key", || {
        replicas
            .iter()
            .all(|replica| {
                let answer = replica.http.get("/api/auth/jwks");
                match answer.status {
                    // Verifiers keep what they have.
                    503 => {
                        assert_eq!(answer.header("retry-after"), "1");
                        false
                    }
                    200 => kids_of(&answer) == before,
                    _ => panic!("{answer:?}"),
                }
            })
            .then_some(())
    });
    for replica in &replicas {
        let now = endorsed_by(replica);
        assert!(now.is_string() && now != tainted, "each has its own endorsement: {now}");
        assert!(tokens.iter().all(|token| is_valid(&replica.http, token)), "the same keys");
        let token = wait_for("a token", || {
            let answer = ann.at(&replica.http).get("/token");
            (answer.status == 200).then(|| answer.at("/token"))
        });
        assert!(before.contains(&kid(&token)));
        assert!(ann.at(&replica.http).is_signed_in(), "nobody signs in again");
    }
}

#[test]
fn a_withdrawn_key_is_dead_for_ever_and_replaced() {
    let stack = Stack::start();
    let replicas = pair(&stack);
    let ann = Browser::sign_up(&replicas[0].http, "ann@example.com");
    let token = ann.token();
    let first = kid(&token);
    let output = stack.command(&replicas[0], &["withdraw", &first]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("withdrawn {first}\n"));
    for replica in &replicas {
        wait_for("the key to be gone", || {
            let answer = replica.http.get("/api/auth/jwks");
            (answer.status == 200 && !answer.body.contains(&first)).then_some(())
        });
        assert!(!is_valid(&replica.http, &token));
    }
    let new = wait_for("a token by a new key", || {
        let answer = ann.get("/token");
        (answer.status == 200).then(|| answer.at("/token"))
    });
    assert_ne!(kid(&new), first);
    wait_for("the new key everywhere", || {
        replicas.iter().all(|it| is_valid(&it.http, &new)).then_some(())
    });
    assert!(ann.is_signed_in());
    let again = stack.command(&replicas[0], &["withdraw", &first]);
    assert_eq!(again.status.code(), Some(1));
    let back = "UPDATE keys SET withdrawn_at = NULL WHERE withdrawn_at IS NOT NULL";
    assert!(stack.try_sql(back).is_err());
    assert_eq!(stack.command(&replicas[0], &["withdraw"]).status.code(), Some(64));

    // More than are ended in one piece.
    stack.sql(
        "INSERT INTO sessions SELECT (jsonb_populate_record(s, jsonb_build_object(\
         'id', s.id || n, 'token', s.token || n))).* FROM sessions s, generate_series(1, 5000) n",
    );
    let ended = stack.command(&replicas[0], &["end-sessions"]);
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "5001 sessions ended\n");
    assert!(!ann.is_signed_in());

    let output = stack.command(&replicas[0], &["withdraw", "--all"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 2);
    wait_for("new keys", || {
        let answer = replicas[1].http.get("/api/auth/jwks");
        (answer.status == 200 && !answer.body.contains(&kid(&new))).then_some(())
    });
    assert!(!is_valid(&replicas[1].http, &new));
}

#[test]
fn a_new_key_waits_until_verifiers_know_it_unless_it_is_alone() {
    let stack = Stack::start();
    let tokens = "listing_delay = \"1h\"\n".to_owned();
    let settings = Settings { tokens, ..Settings::default() };
    let mut first = stack.accounts_with(&settings).ready();
    let ann = Browser::sign_up(&first.http, "ann@example.com");
    let old = ann.token();
    let second = stack.accounts_with(&settings);
    wait_for("its key in the older one's list", || (kids(&first.http).len() == 2).then_some(()));
    wait_for("it says why it waits", || {
        let ready = second.http.get("/ready");
        ready.status == 503 && ready.body.contains("not known to verifiers")
    });
    let waiting = ann.at(&second.http).get("/token");
    assert_eq!((waiting.status, waiting.header("retry-after")), (503, "1"));
    let session = ann.at(&second.http).get("/get-session");
    assert_eq!((session.status, session.header("set-auth-jwt")), (200, ""));
    assert_eq!(second.http.get("/health").json()["status"], "degraded");
    assert!(is_valid(&second.http, &old));

    // The older one stops: its tokens are good until they expire, and nobody waits for it.
    first.process.terminate();
    stack.runtime.block_on(first.process.ended());
    let second = second.ready();
    assert!(is_valid(&second.http, &old));
    assert_eq!(kids(&second.http).len(), 2);
    assert_ne!(kid(&ann.at(&second.http).token()), kid(&old));
}

/// When a taint comes meanwhile, the older replica's key has lost its endorsement but still signs as soon as
/// it has another one.
#[test]
fn a_taint_does_not_end_the_wait_of_a_new_key() {
    let stack = Stack::start();
    let tokens = "listing_delay = \"1h\"\n".to_owned();
    let settings = Settings { tokens, ..Settings::default() };
    let first = stack.accounts_with(&settings).ready();
    let ann = Browser::sign_up(&first.http, "ann@example.com");
    let old = kid(&ann.token());
    let second = stack.accounts_with(&settings);
    wait_for("its key in the older one's list", || (kids(&first.http).len() == 2).then_some(()));
    let generation = |it: &Replica| it.http.get("/health/key").json()["generationId"].clone();
    let tainted = wait_for("its endorsement", || {
        Some(generation(&second)).filter(serde_json::Value::is_string)
    });
    stack.taint();
    for replica in [&second, &first] {
        wait_for("the next generation's endorsement", || {
            let now = generation(replica);
            now.is_string() && now != tainted
        });
        // The list is read again after the endorsement was published.
        wait_for("both keys", || replica.http.get("/api/auth/jwks").status == 200);
        assert_eq!(kids(&replica.http).len(), 2);
    }
    assert_eq!(ann.at(&second.http).get("/token").status, 503);
    let ready = second.http.get("/ready");
    assert!(ready.status == 503 && ready.body.contains("not known to verifiers"), "{ready:?}");
    assert_eq!(kid(&ann.token()), old, "the older one signs as before");
}
