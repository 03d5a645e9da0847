//! Why a message is refused: the protocol's codes and the HTTP status that goes with each.

use serde::Serialize;

/// Why a request was refused or a reply not accepted. The texts say what kind of check failed and
/// nothing about what is stored; the wire form is [`Error::to_json`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are not a message of this operation in its wire form.
    #[error("the message is malformed")]
    Malformed(#[source] Malformed),

    /// A signature was not made by the key that had to make it.
    #[error("the signature does not verify")]
    Signature,

    /// The identity is not the hash of the keys it claims to be.
    #[error("the identity does not match its keys")]
    IdentityFormula,

    /// The identity has been registered before.
    #[error("the identity exists already")]
    IdentityExists,

    /// There is no such identity, or it has been deleted.
    #[error("the identity is not known")]
    IdentityUnknown,

    /// The device is not the hash of the keys it claims to be.
    #[error("the device does not match its keys")]
    DeviceFormula,

    /// The device has been registered before.
    #[error("the device exists already")]
    DeviceExists,

    /// The identity has no such device.
    #[error("the device is not known")]
    DeviceUnknown,

    /// The device has been unlinked, or its account recovered or deleted.
    #[error("the device is revoked")]
    DeviceRevoked,

    /// The revealed key is not the one that was committed to.
    #[error("the key was not committed to")]
    Hash,

    /// The access key that the token committed to has been used for a refresh before.
    #[error("the access token has been refreshed already")]
    RefreshUsed,

    /// The challenge was never given, is for another identity, too old, or has been used.
    #[error("the challenge is not valid")]
    Challenge,

    /// The server key that signed the token is not endorsed.
    #[error("the access token's server key is not endorsed")]
    ServerKey,

    /// A reply answers another request.
    #[error("the reply is for another request")]
    Nonce,

    /// A link container is for another identity than the request.
    #[error("the identities differ")]
    IdentitiesDiffer,

    /// The token, or the time for refreshing it, is over.
    #[error("the access token has expired")]
    TokenExpired,

    /// The token was issued in the future.
    #[error("the access token is from the future")]
    TokenFromFuture,

    /// The request is too old, or a copy of an earlier one.
    #[error("the request is stale")]
    StaleRequest,

    /// The request is from the future.
    #[error("the request is from the future")]
    FutureRequest,

    /// The token gives no role that may do this.
    #[error("unauthorized")]
    Unauthorized,

    /// The checks could not be made: a store or the key log gave no answer. Nothing was decided.
    #[error("the service is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What about a message is not in the wire form; for our logs, not for the sender.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// It is not JSON of the expected shape: a member is missing, unknown, double or of another type.
    #[error("not the expected members")]
    Json(#[source] serde_json::Error),

    /// The payload breaks the rules for signed JSON (design, section 4).
    #[error("not a signable payload")]
    Payload(#[source] hsmd_chain::payload::PayloadError),

    /// It is not UTF-8.
    #[error("not UTF-8")]
    Utf8(#[source] std::str::Utf8Error),

    /// An access token is too short, or its second part is not base64url of gzip of a bounded text.
    #[error("not an access token: {0}")]
    Token(&'static str),
}

/// The wire form of an error.
#[derive(Serialize)]
struct Wire<'a> {
    error: WireError<'a>,
}

#[derive(Serialize)]
struct WireError<'a> {
    code: &'a str,
    message: &'a str,
    context: Context,
}

/// Empty: whatever it said would be about what we store.
#[derive(Serialize)]
struct Context {}

impl Error {
    /// The protocol's code. Failures for which it has none carry the code of the closest meaning, or
    /// `BA000`, its general one.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Signature => "BA101",
            Self::IdentityFormula | Self::IdentityExists | Self::IdentityUnknown => "BA102",
            Self::DeviceFormula
            | Self::DeviceExists
            | Self::DeviceUnknown
            | Self::DeviceRevoked => "BA103",
            Self::Hash | Self::RefreshUsed => "BA104",
            Self::Nonce => "BA203",
            Self::IdentitiesDiffer => "BA302",
            Self::TokenExpired => "BA401",
            Self::TokenFromFuture => "BA403",
            Self::StaleRequest => "BA501",
            Self::FutureRequest => "BA502",
            Self::Challenge | Self::ServerKey | Self::Unauthorized | Self::Unavailable(_) => {
                "BA000"
            }
        }
    }

    /// The HTTP status: 400 for what contradicts itself, 401 for what does not agree with what we
    /// know, 403 revoked, 409 exists already, 422 temporal, 503 undecided.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_)
            | Self::IdentityFormula
            | Self::DeviceFormula
            | Self::IdentitiesDiffer
            | Self::Nonce => 400,
            Self::Signature
            | Self::IdentityUnknown
            | Self::DeviceUnknown
            | Self::Hash
            | Self::RefreshUsed
            | Self::Challenge
            | Self::ServerKey
            | Self::Unauthorized => 401,
            Self::DeviceRevoked => 403,
            Self::IdentityExists | Self::DeviceExists => 409,
            Self::TokenExpired
            | Self::TokenFromFuture
            | Self::StaleRequest
            | Self::FutureRequest => 422,
            Self::Unavailable(_) => 503,
        }
    }

    /// The body of an error reply: `{"error":{"code":…,"message":…,"context":{}}}`, without a
    /// `payload`, unsigned.
    #[must_use]
    pub fn to_json(&self) -> String {
        error_json(self.code(), &self.to_string())
    }
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// The body of an error reply that is none of ours: too large, too many, a fault of the service.
#[must_use]
pub fn error_json(code: &str, message: &str) -> String {
    let wire = Wire { error: WireError { code, message, context: Context {} } };
    crate::ordered::compact(&wire)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form() {
        assert_eq!(
            Error::IdentitiesDiffer.to_json(),
            r#"{"error":{"code":"BA302","message":"the identities differ","context":{}}}"#
        );
        assert_eq!(Error::Hash.status(), 401);
    }
}
