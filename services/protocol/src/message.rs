//! The envelope of messages in both directions: a payload, and a signature over its exact text.

use hsmd_chain::{
    Payload,
    cesr::{Nonce, PublicKey, Signature},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{Error, PrivateKey, error::Malformed, operation::Operation, ordered::compact};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
    signature: Signature,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnsignedEnvelope<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(bound(deserialize = "A: Serialize + DeserializeOwned, R: Deserialize<'de>"))]
struct RequestPayload<A, R> {
    #[serde(with = "crate::ordered")]
    access: A,
    request: R,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplyPayload<R> {
    #[serde(with = "crate::ordered")]
    access: ReplyAccess,
    response: R,
}

/// The `access` member of a request to the auth service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestAccess {
    /// Chosen by the device; the reply repeats it.
    pub nonce: Nonce,
}

/// The `access` member of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ReplyAccess {
    /// The request's nonce.
    pub nonce: Nonce,
    /// The server's response key, which signed the reply and must be endorsed.
    pub server_identity: PublicKey,
}

/// A payload's text as it came, and the signature that claims to cover it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignedText<'a> {
    pub(crate) text: &'a str,
    pub(crate) signature: Signature,
}

impl<'a> SignedText<'a> {
    /// Cuts payload and signature out of `{"payload":…,"signature":…}`.
    pub(crate) fn open(message: &'a [u8]) -> Result<Self, Malformed> {
        let Envelope { payload, signature } = from_utf8(message)?;
        Ok(Self { text: signable(payload)?, signature })
    }

    pub(crate) fn verify(&self, key: &PublicKey) -> Result<(), Error> {
        key.verify(self.text.as_bytes(), &self.signature).map_err(|_| Error::Signature)
    }
}

/// Cuts the payload out of a message that has no signature.
fn open_unsigned(message: &[u8]) -> Result<&str, Malformed> {
    let UnsignedEnvelope { payload } = from_utf8(message)?;
    signable(payload)
}

fn from_utf8<'a, T: Deserialize<'a>>(message: &'a [u8]) -> Result<T, Malformed> {
    let text = std::str::from_utf8(message).map_err(Malformed::Utf8)?;
    serde_json::from_str(text).map_err(Malformed::Json)
}

/// Holds a payload to the rules for signed JSON: compact, no duplicate names, bounded depth.
fn signable(payload: &RawValue) -> Result<&str, Malformed> {
    Payload::parse(payload.get().as_bytes()).map_err(Malformed::Payload)?;
    Ok(payload.get())
}

/// Reads `{"access":…,"request":…}` from a payload's text.
pub(crate) fn request_payload<'a, A, R>(text: &'a str) -> Result<(A, R), Malformed>
where
    A: Serialize + DeserializeOwned,
    R: Deserialize<'a>,
{
    let payload: RequestPayload<A, R> = serde_json::from_str(text).map_err(Malformed::Json)?;
    Ok((payload.access, payload.request))
}

/// Writes and signs `{"access":…,"request":…}`.
pub(crate) fn sign_request<A: Serialize>(access: &A, request: &str, key: &PrivateKey) -> String {
    seal(&request_text(access, request), key)
}

pub(crate) fn request_text<A: Serialize>(access: &A, request: &str) -> String {
    format!(r#"{{"access":{},"request":{request}}}"#, compact(access))
}

/// Signs a payload's text and wraps it.
pub(crate) fn seal(payload: &str, key: &PrivateKey) -> String {
    format!(r#"{{"payload":{payload},"signature":"{}"}}"#, key.sign(payload))
}

/// A request of operation `O` as it came, with its text. Its members say what the sender claims:
/// [`Received::verify`] ties them to a key, the rules in [`crate::server`] to what is stored.
#[derive(Clone, Debug)]
pub struct Received<'a, O> {
    /// The request's nonce, for the reply.
    pub nonce: Nonce,
    /// The `request` member.
    pub request: O,
    signed: Option<SignedText<'a>>,
}

impl<'a, O: Operation> Received<'a, O> {
    /// Parses a message of this operation.
    ///
    /// # Errors
    /// [`Error::Malformed`] for everything that is not the wire form: unknown, missing or double
    /// members, members of `authentication`, `access` and `link` out of order, blanks in the payload,
    /// a signature where there must be none or none where there must be one.
    pub fn parse(message: &'a [u8]) -> Result<Self, Error> {
        let signed = if O::SIGNED { Some(SignedText::open(message)?) } else { None };
        let text = match signed {
            Some(signed) => signed.text,
            None => open_unsigned(message)?,
        };
        let (RequestAccess { nonce }, request) = request_payload(text)?;
        Ok(Self { nonce, request, signed })
    }

    /// Verifies the signature over the payload's received text.
    ///
    /// # Errors
    /// [`Error::Signature`] if it is another key's, or the operation is unsigned.
    pub fn verify(&self, key: &PublicKey) -> Result<(), Error> {
        self.signed.ok_or(Error::Signature)?.verify(key)
    }
}

/// A reply as it came, not yet believed.
#[derive(Clone, Debug)]
pub struct Reply<'a, R> {
    access: ReplyAccess,
    response: R,
    signed: SignedText<'a>,
}

impl<'a, R: Deserialize<'a>> Reply<'a, R> {
    /// Parses a reply.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not one with this response, an error reply included.
    pub fn parse(message: &'a [u8]) -> Result<Self, Error> {
        let signed = SignedText::open(message)?;
        let payload: ReplyPayload<R> =
            serde_json::from_str(signed.text).map_err(Malformed::Json)?;
        Ok(Self { access: payload.access, response: payload.response, signed })
    }

    /// The response key that the reply names. The reader looks up its endorsement (purpose
    /// `response`) before it believes the reply.
    #[must_use]
    pub fn server_identity(&self) -> &PublicKey {
        &self.access.server_identity
    }

    /// Gives the response, if the reply is for the request with this nonce and signed by the key it
    /// names. `endorsed` is the key whose endorsement the caller has verified.
    ///
    /// # Errors
    /// [`Error::ServerKey`] if that is another key, [`Error::Signature`], [`Error::Nonce`].
    pub fn verify(self, endorsed: &PublicKey, nonce: &Nonce) -> Result<R, Error> {
        if *endorsed != self.access.server_identity {
            return Err(Error::ServerKey);
        }
        self.signed.verify(endorsed)?;
        if self.access.nonce != *nonce {
            return Err(Error::Nonce);
        }
        Ok(self.response)
    }
}

/// Writes and signs a reply with the server's response key.
#[must_use]
pub fn sign_reply<R: Serialize>(nonce: Nonce, response: &R, key: &PrivateKey) -> String {
    let access = ReplyAccess { nonce, server_identity: *key.public_key() };
    let payload = format!(r#"{{"access":{},"response":{}}}"#, compact(&access), compact(response));
    seal(&payload, key)
}
