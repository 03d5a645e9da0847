//! Our keys on the token: how they are labelled, found, bound to their public key and destroyed.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use hsmd_chain::{Body, Digest, Payload, PublicKey, Signature, SigningInput};

use super::error::TokenError;
use super::object::Object;

/// A private key of an open session. It dies with the session's login: never keep one beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHandle(pub(super) ObjectHandle);

/// CKA_ID of the key pair with this sequence number: 8 ASCII digits.
pub fn id(sequence_number: u32) -> [u8; 8] {
    let mut id = [b'0'; 8];
    let mut rest = sequence_number;
    for digit in id.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    id
}

/// The sequence number in a CKA_ID, if it is one of ours.
pub fn sequence_number(id: &[u8]) -> Option<u32> {
    if id.len() != 8 || !id.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(id).ok()?.parse().ok()
}

/// The public key of a public key object.
pub(super) fn public_key(session: &Session, object: ObjectHandle) -> Result<PublicKey, TokenError> {
    let attributes = session
        .get_attributes(object, &[AttributeType::EcPoint])
        .map_err(TokenError::call("reading a public key"))?;
    let [Attribute::EcPoint(point)] = attributes.as_slice() else {
        return Err(TokenError::Nonsense("a public key without CKA_EC_POINT"));
    };
    PublicKey::from_sec1(unwrap_point(point))
        .map_err(|_| TokenError::Nonsense("a CKA_EC_POINT that is not a P-256 point"))
}

/// CKA_EC_POINT is a DER octet string by the specification, and raw from some devices: accept both.
fn unwrap_point(point: &[u8]) -> &[u8] {
    match point {
        [0x04, length, inner @ ..]
            if usize::from(*length) == inner.len() && matches!(inner.len(), 33 | 65) =>
        {
            inner
        }
        raw => raw,
    }
}

/// Signs what only a body or an event can make, so that no other digest ever meets a generation key.
pub(super) fn sign(
    session: &Session,
    key: ObjectHandle,
    input: &SigningInput,
) -> Result<Signature, TokenError> {
    // Two calls of C_Sign, the first of which asks for the length: cryptoki's only way to sign in one
    // part. Its API takes no buffer, so one call is not to be had (tests/system/work.rs counts them).
    let signature = session
        .sign(&Mechanism::Ecdsa, key, input.as_bytes())
        .map_err(TokenError::call("signing"))?;
    let signature: [u8; 64] = signature
        .try_into()
        .map_err(|_| TokenError::Nonsense("a signature that is not 64 bytes"))?;
    Signature::from_bytes(&signature)
        .map_err(|_| TokenError::Nonsense("a signature with r or s out of range"))
}

/// All our objects of a class, with their CKA_ID.
pub(super) fn objects(
    session: &Session,
    label: &str,
    class: ObjectClass,
) -> Result<Vec<(ObjectHandle, Vec<u8>)>, TokenError> {
    let template = [
        Attribute::Class(class),
        Attribute::KeyType(KeyType::EC),
        Attribute::Label(label.as_bytes().to_vec()),
    ];
    let handles = session.find_objects(&template).map_err(TokenError::call("finding our keys"))?;
    handles
        .into_iter()
        .map(|handle| {
            let attributes = session
                .get_attributes(handle, &[AttributeType::Id])
                .map_err(TokenError::call("reading a CKA_ID"))?;
            let id = match attributes.into_iter().next() {
                Some(Attribute::Id(id)) => id,
                _ => Vec::new(),
            };
            Ok((handle, id))
        })
        .collect()
}

/// Whether a private key signs for a public key that no event commits to yet: by a body of purpose
/// `health` that names no generation. It never leaves the token's thread.
pub(super) fn proves(
    session: &Session,
    private: ObjectHandle,
    key: &PublicKey,
    identity: Option<Digest>,
) -> Result<bool, TokenError> {
    let payload = Payload::parse(r#"{"purpose":"health"}"#.to_owned())
        .map_err(|_| TokenError::Nonsense("no health payload"))?;
    let body = Body::of_uncommitted_key(identity, key, &payload);
    let signature = sign(session, private, &body.signing_input())?;
    Ok(key.verify(body.text().as_bytes(), &signature).is_ok())
}

/// Destroys every object of ours with this CKA_ID and confirms by a find that none is left.
/// `destroyed` is told of each.
pub(super) fn destroy(
    session: &Session,
    label: &str,
    id: &[u8],
    destroyed: impl Fn(),
) -> Result<(), TokenError> {
    // The private part first: were we to die in between, what is left signs nothing. All are found
    // before any is destroyed: what somebody makes with this CKA_ID meanwhile stays.
    let mut found = Vec::new();
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        let object = Object::key(class, label, id);
        for handle in with_id(session, label, id, class)? {
            found.push((handle, object.clone()));
        }
    }
    for (handle, object) in found {
        object.destroy(session, handle)?;
        destroyed();
        crate::crash_point!("token::between-destroys");
    }
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        if !with_id(session, label, id, class)?.is_empty() {
            let what = Object::key(class, label, id).to_string();
            return Err(TokenError::NotDestroyed { what, error: None });
        }
    }
    Ok(())
}

pub(super) fn with_id(
    session: &Session,
    label: &str,
    id: &[u8],
    class: ObjectClass,
) -> Result<Vec<ObjectHandle>, TokenError> {
    let template = [
        Attribute::Class(class),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(id.to_vec()),
    ];
    session.find_objects(&template).map_err(TokenError::call("finding a key"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_eight_digits() {
        assert_eq!(&id(0), b"00000000");
        assert_eq!(&id(99_999_999), b"99999999");
        assert_eq!(sequence_number(b"00000042"), Some(42));
        for other in [b"0000042".as_slice(), b"+0000042", b"0000004x", b""] {
            assert_eq!(sequence_number(other), None);
        }
    }

    #[test]
    fn points_come_wrapped_or_raw() {
        let mut wrapped = vec![0x04, 65, 0x04];
        wrapped.extend([7; 64]);
        assert_eq!(unwrap_point(&wrapped).len(), 65);
        assert_eq!(unwrap_point(&wrapped[2..]).len(), 65);
        let compressed = [2; 33];
        assert_eq!(unwrap_point(&compressed).len(), 33);
    }
}
