//! The keys that verify JWTs as JOSE libraries read them: a JWKS, with each key's endorsement.

use base64ct::{Base64UrlUnpadded, Encoding as _};
use hsmd_chain::PublicKey;
use p256::ecdsa::VerifyingKey;
use serde::Serialize;
use serde_json::value::RawValue;

/// A key whose tokens are ES256, and the endorsement that takes it back to the HSM. That this one holds is for
/// the maker to verify.
#[derive(Clone, Debug)]
pub struct JwtKey {
    kid: PublicKey,
    x: String,
    y: String,
    /// As published, byte for byte.
    endorsement: Box<RawValue>,
}

#[derive(Serialize)]
struct Document<'a> {
    keys: Vec<Jwk<'a>>,
}

/// One member of `keys`.
#[derive(Serialize)]
struct Jwk<'a> {
    kty: &'static str,
    crv: &'static str,
    x: &'a str,
    y: &'a str,
    alg: &'static str,
    r#use: &'static str,
    kid: &'a str,
    hsmd: &'a RawValue,
}

impl JwtKey {
    /// A key and its endorsement's text, unless that is no JSON.
    #[must_use]
    pub fn new(kid: PublicKey, endorsement: &str) -> Option<Self> {
        let (x, y) = coordinates(&kid)?;
        let endorsement = RawValue::from_string(endorsement.to_owned()).ok()?;
        Some(Self { kid, x, y, endorsement })
    }

    /// The key, whose text is the `kid` of its tokens.
    #[must_use]
    pub fn kid(&self) -> &PublicKey {
        &self.kid
    }

    /// The endorsement's text.
    #[must_use]
    pub fn endorsement(&self) -> &str {
        self.endorsement.get()
    }
}

/// The JWKS of these keys, in this order.
#[must_use]
pub fn document<'a>(keys: impl IntoIterator<Item = &'a JwtKey>) -> String {
    let keys = keys.into_iter().map(|key| Jwk {
        kty: "EC",
        crv: "P-256",
        x: &key.x,
        y: &key.y,
        alg: "ES256",
        r#use: "sig",
        kid: key.kid.as_str(),
        hsmd: &key.endorsement,
    });
    // Texts and raw JSON: nothing of it can't be written.
    serde_json::to_string(&Document { keys: keys.collect() }).unwrap_or_default()
}

/// The affine coordinates, in base64url.
fn coordinates(kid: &PublicKey) -> Option<(String, String)> {
    // Behind the code of four characters stand the 33 bytes of the compressed point.
    let point = Base64UrlUnpadded::decode_vec(kid.as_str().get(4..)?).ok()?;
    let point = VerifyingKey::from_sec1_bytes(&point).ok()?.to_sec1_point(false);
    let encode = |bytes: &[u8]| Base64UrlUnpadded::encode_string(bytes);
    Some((encode(point.x()?), encode(point.y()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_point_with_its_endorsement() {
        let kid = *crate::random::key().public_key();
        let key = JwtKey::new(kid, r#"{"body": {},"signature":""}"#).unwrap();
        let text = document([&key]);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let coordinate = |name: &str| {
            Base64UrlUnpadded::decode_vec(value["keys"][0][name].as_str().unwrap()).unwrap()
        };
        let point = [&[4][..], &coordinate("x"), &coordinate("y")].concat();
        assert_eq!(PublicKey::from_sec1(&point).unwrap(), kid);
        assert!(text.ends_with(r#""hsmd":{"body": {},"signature":""}}]}"#), "{text}");
        assert_eq!(document([]), r#"{"keys":[]}"#);
        assert!(JwtKey::new(kid, "{").is_none());
    }
}
