//! Our keys on the token: how they are labelled, made, bound to their public key and destroyed.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use hsmd_chain::{PublicKey, Signature, SigningInput};

use super::error::TokenError;

/// DER of the object identifier of P-256 (1.2.840.10045.3.1.7), the value of CKA_EC_PARAMS.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

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

/// Makes the pair with this sequence number: private part on the token for good, sensitive, never
/// extractable, not modifiable, sign only.
pub(super) fn generate(
    session: &Session,
    label: &str,
    sequence_number: u32,
) -> Result<PublicKey, TokenError> {
    let id = id(sequence_number).to_vec();
    let label = label.as_bytes().to_vec();
    let public = [
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Label(label.clone()),
        Attribute::Id(id.clone()),
        Attribute::EcParams(P256.to_vec()),
        Attribute::Verify(true),
        Attribute::Modifiable(false),
    ];
    let private = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Modifiable(false),
        Attribute::Sign(true),
        Attribute::Decrypt(false),
        Attribute::SignRecover(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
        Attribute::Label(label),
        Attribute::Id(id),
    ];
    let (public, _) = session
        .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
        .map_err(TokenError::call("making a key pair"))?;
    public_key(session, public)
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

/// Destroys every object of ours with this CKA_ID and confirms by a find that none is left.
pub(super) fn destroy(session: &Session, label: &str, id: &[u8]) -> Result<(), TokenError> {
    // The private part first: were we to die in between, what is left signs nothing. All are found
    // before any is destroyed: what somebody makes with this CKA_ID meanwhile stays.
    let mut found = with_id(session, label, id, ObjectClass::PRIVATE_KEY)?;
    found.extend(with_id(session, label, id, ObjectClass::PUBLIC_KEY)?);
    for handle in found {
        session.destroy_object(handle).map_err(TokenError::call("destroying a key"))?;
        crate::crash_point!("token::between-destroys");
    }
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        if !with_id(session, label, id, class)?.is_empty() {
            return Err(TokenError::NotDestroyed { id: String::from_utf8_lossy(id).into() });
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
