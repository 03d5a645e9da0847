//! `POST /sign`: `{"payload":{purpose, publicKey, expiration}}` is endorsed, any other document is signed
//! byte for byte. The answer is what is published: `{"body":…,"signature":…}`.

use std::time::Duration;

use axum::{extract::State, http::StatusCode, response::Response};
use bytes::Bytes;
use hsmd_chain::{EndorsementPayload, PublicKey, Timestamp};
use hsmd_client::Signed;
use hsmd_support::chain;
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::value::RawValue;

use crate::{Gateway, error::Refusal, instant, routes::published};

/// What the way to hsmd may take, so that its expiration is not later than the one that was asked for.
const MARGIN: Duration = Duration::from_millis(100);

/// How often an earlier expiration is asked for: hsmd counts the ttl from its own clock.
const ATTEMPTS: usize = 4;

/// How long ago a generation may have been rotated away that signed an answer.
const RECENT: Duration = Duration::from_secs(60);

/// How often the log is looked at for the generation of an answer, and how far apart.
const LOOKS: u32 = 40;
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
}

/// What makes a payload an endorsement's.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    public_key: Option<IgnoredAny>,
    expiration: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    purpose: String,
    public_key: String,
    expiration: String,
}

pub(crate) async fn sign(State(gateway): State<Gateway>, body: Bytes) -> Result<Response, Refusal> {
    let request: Request<'_> = serde_json::from_slice(&body)
        .map_err(|error| Refusal::bad(format!("the request: {error}")))?;
    let payload = request.payload.get();
    let kind: Kind = object(payload)?;
    let signed = match kind {
        Kind { public_key: None, expiration: None } => {
            gateway.client.sign(payload.to_owned()).await?
        }
        _ => endorse(&gateway, object(payload)?).await?,
    };
    believed(&gateway, &signed).await?;
    Ok(published(signed.to_json()))
}

/// Whether an answer holds by the followed log, which may learn of a rotation a moment after it: who asks with
/// curl verifies nothing.
async fn believed(gateway: &Gateway, signed: &Signed) -> Result<(), Refusal> {
    let mut looks = 0;
    loop {
        let log = gateway.log.fresh()?;
        match signed.signed.verify(&log, gateway.clock.now(), RECENT) {
            Ok(_) => return Ok(()),
            Err(_) if looks < LOOKS => {}
            Err(error) => {
                let sentence = format!("hsmd's answer does not hold by its log: {}", chain(&error));
                return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, sentence));
            }
        }
        looks += 1;
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Reads a payload. serde reads structures from arrays as well, which are no payloads.
fn object<T: DeserializeOwned>(payload: &str) -> Result<T, Refusal> {
    if !payload.starts_with('{') {
        return Err(Refusal::bad("the payload is no object"));
    }
    serde_json::from_str(payload).map_err(|error| Refusal::bad(format!("the payload: {error}")))
}

/// An endorsement that expires when it was wanted or a moment earlier.
async fn endorse(gateway: &Gateway, wanted: Wanted) -> Result<Signed, Refusal> {
    let key = wanted.public_key.parse::<PublicKey>();
    let key = key.map_err(|error| Refusal::bad(format!("publicKey: {error}")))?;
    let until = instant::parse(&wanted.expiration).ok_or_else(|| {
        Refusal::bad("expiration: not of the form 2026-11-22T11:22:33Z with 0 to 9 fraction digits")
    })?;
    let mut margin = MARGIN;
    for _ in 0..ATTEMPTS {
        let ttl = until.saturating_since(gateway.clock.now()).saturating_sub(margin);
        if ttl < Duration::from_secs(1) {
            return Err(Refusal::bad("expiration: not more than a second ahead"));
        }
        let signed = gateway.client.endorse(&wanted.purpose, &key, ttl).await?;
        let late = expiration(&signed)?.saturating_since(until);
        if late.is_zero() {
            return Ok(signed);
        }
        margin += late;
    }
    let sentence = "hsmd's expirations are later than what was asked for: is its clock ahead?";
    Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, sentence))
}

fn expiration(signed: &Signed) -> Result<Timestamp, Refusal> {
    let payload = EndorsementPayload::parse(signed.signed.payload());
    payload
        .map(|payload| payload.expiration())
        .map_err(|error| Refusal::new(StatusCode::BAD_GATEWAY, format!("hsmd's answer: {error}")))
}
