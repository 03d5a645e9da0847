//! Access tokens: a signature, then the compressed JSON that it covers.

use std::{collections::HashMap, io::Read as _, io::Write as _};

use base64ct::{Base64UrlUnpadded, Encoding as _};
use flate2::{Compression, bufread::GzDecoder, write::GzEncoder};
use hsmd_chain::{
    Payload,
    cesr::{Digest, PublicKey, Signature},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    Error, PrivateKey, WireTime,
    error::Malformed,
    message::SignedText,
    ordered::{self, compact},
};

/// The longest token text that is looked at. Ours have about 500 characters.
const MAX_TOKEN: usize = 16 * 1024;

/// The longest JSON that a token may unfold to: gzip reaches a thousand to one.
const MAX_JSON: usize = 16 * 1024;

/// What a token says. Read from a token it is a claim until [`ReceivedToken::verify`] has tied it to an
/// endorsed server key; members stand in the order of the wire form.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessToken {
    /// The access key of the server that signed.
    pub server_identity: PublicKey,
    /// The device that asked for the session.
    pub device: Digest,
    /// Its account.
    pub identity: Digest,
    /// The key that signs access requests.
    pub public_key: PublicKey,
    /// The commitment to the access key after that.
    pub rotation_hash: Digest,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// The last instant at which it gives access.
    pub expiry: Timestamp,
    /// The last instant at which it can be refreshed.
    pub refresh_expiry: Timestamp,
    /// What the holder may do.
    pub attributes: Attributes,
}

/// A token as others write it: an [`AccessToken`], perhaps with finer times.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WireToken {
    server_identity: PublicKey,
    device: Digest,
    identity: Digest,
    public_key: PublicKey,
    rotation_hash: Digest,
    issued_at: WireTime,
    expiry: WireTime,
    refresh_expiry: WireTime,
    attributes: Attributes,
}

impl From<WireToken> for AccessToken {
    fn from(token: WireToken) -> Self {
        Self {
            server_identity: token.server_identity,
            device: token.device,
            identity: token.identity,
            public_key: token.public_key,
            rotation_hash: token.rotation_hash,
            issued_at: token.issued_at.at(),
            expiry: token.expiry.at(),
            refresh_expiry: token.refresh_expiry.at(),
            attributes: token.attributes,
        }
    }
}

/// A token's attributes, kept as text: a refresh repeats them to the byte.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attributes(Box<RawValue>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Permissions {
    permissions_by_role: HashMap<String, Vec<String>>,
}

impl Attributes {
    /// What every session of the auth service gets: the role `user`, which may read and write.
    #[must_use]
    pub fn user() -> Self {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct User {
            permissions_by_role: Roles,
        }
        #[derive(Serialize)]
        struct Roles {
            user: [&'static str; 2],
        }
        let user = User { permissions_by_role: Roles { user: ["read", "write"] } };
        Self(ordered::raw(&user))
    }

    /// Whether a role has a permission. Attributes of another shape permit nothing.
    #[must_use]
    pub fn permit(&self, role: &str, permission: &str) -> bool {
        serde_json::from_str::<Permissions>(self.0.get()).is_ok_and(|permissions| {
            let of_role = permissions.permissions_by_role.get(role);
            of_role.is_some_and(|list| list.iter().any(|entry| entry == permission))
        })
    }
}

impl AccessToken {
    /// Signs the token with the server's access key, whose public key must be `server_identity`, and
    /// packs it: 88 characters of signature, then base64url of gzip of the JSON.
    ///
    /// # Errors
    /// [`Error::ServerKey`] if the key is another one.
    pub fn encode(&self, key: &PrivateKey) -> Result<String, Error> {
        if self.server_identity != *key.public_key() {
            return Err(Error::ServerKey);
        }
        let text = compact(self);
        let mut token = key.sign(&text).to_string();
        token.push_str(&Base64UrlUnpadded::encode_string(&gzip(text.as_bytes())));
        Ok(token)
    }
}

/// A token as it came: parsed from the exact text that the signature claims to cover.
#[derive(Clone, Debug)]
pub struct ReceivedToken {
    token: AccessToken,
    text: String,
    signature: Signature,
}

impl ReceivedToken {
    /// Unpacks a token.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is too long, not base64url of gzip, unfolds to more than 16 KiB or
    /// is followed by anything, or if the JSON is not compact with its members in order.
    pub fn decode(token: &str) -> Result<Self, Error> {
        if token.len() > MAX_TOKEN {
            return Err(Malformed::Token("too long").into());
        }
        let (signature, packed) =
            token.split_at_checked(Signature::LENGTH).ok_or(Malformed::Token("too short"))?;
        let signature = signature.parse().map_err(|_| Malformed::Token("no signature"))?;
        let packed =
            Base64UrlUnpadded::decode_vec(packed).map_err(|_| Malformed::Token("not base64url"))?;
        let text = String::from_utf8(gunzip(&packed)?)
            .map_err(|error| Malformed::Utf8(error.utf8_error()))?;
        Payload::parse(text.as_bytes()).map_err(Malformed::Payload)?;
        let token: WireToken = serde_json::from_str(&text).map_err(Malformed::Json)?;
        if compact(&token) != text {
            return Err(Malformed::Token("members out of order").into());
        }
        Ok(Self { token: token.into(), text, signature })
    }

    /// The access key that the token names, to look its endorsement up.
    #[must_use]
    pub fn server_identity(&self) -> &PublicKey {
        &self.token.server_identity
    }

    /// What the token claims, not yet verified.
    #[must_use]
    pub fn claims(&self) -> &AccessToken {
        &self.token
    }

    /// Verifies the signature over the decoded text with the key that the token names. The caller has
    /// verified that key's endorsement (purpose `access`).
    ///
    /// # Errors
    /// [`Error::Signature`].
    pub fn verify(self) -> Result<AccessToken, Error> {
        let signed = SignedText { text: &self.text, signature: self.signature };
        signed.verify(&self.token.server_identity)?;
        Ok(self.token)
    }
}

#[expect(clippy::expect_used, reason = "writing to a Vec does not fail")]
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("a Vec takes all bytes")
}

/// Unfolds one gzip member and nothing after it, to a bounded size.
fn gunzip(packed: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut text = Vec::new();
    let mut decoder = GzDecoder::new(packed);
    let limit = MAX_JSON as u64 + 1;
    decoder
        .by_ref()
        .take(limit)
        .read_to_end(&mut text)
        .map_err(|_| Malformed::Token("not gzip"))?;
    if text.len() > MAX_JSON {
        return Err(Malformed::Token("unfolds to too much"));
    }
    if !decoder.into_inner().is_empty() {
        return Err(Malformed::Token("followed by something"));
    }
    Ok(text)
}
