//! Data objects of ours: read, and replaced, the new one being there before the old one goes.

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::error::TokenError;
use super::object::Object;

/// The values of the data objects with this label, in no particular order.
pub(super) fn read(session: &Session, label: &str) -> Result<Vec<Vec<u8>>, TokenError> {
    let handles = find(session, label)?;
    handles.into_iter().filter_map(|handle| value(session, handle).transpose()).collect()
}

/// Makes `new` the one data object with this label. CKA_PRIVATE is not asked for: yubihsm_pkcs11
/// answers it with an error and keeps its lock, and what is written here is public.
/// `destroyed` is told of each old one that goes.
pub(super) fn replace(
    session: &Session,
    label: &str,
    new: &[u8],
    destroyed: impl Fn(),
) -> Result<(), TokenError> {
    let template = [
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Value(new.to_vec()),
    ];
    let ours = Object::data(label);
    let old = find(session, label)?;
    let made =
        session.create_object(&template).map_err(TokenError::call("writing a data object"))?;
    ours.expect(session, made)?;
    if old.contains(&made) {
        let found = "an older one with the same label".into();
        return Err(TokenError::AnotherObject { meant: ours.to_string(), found });
    }
    for handle in old {
        ours.destroy(session, handle)?;
        destroyed();
    }
    match read(session, label)?.as_slice() {
        [left] if left == new => Ok(()),
        _ => Err(TokenError::Nonsense("another data object than the one just written")),
    }
}

/// Destroys the data objects with this label; `destroyed` is told of each.
pub(super) fn destroy(
    session: &Session,
    label: &str,
    destroyed: impl Fn(),
) -> Result<(), TokenError> {
    for handle in find(session, label)? {
        Object::data(label).destroy(session, handle)?;
        destroyed();
    }
    Ok(())
}

fn value(session: &Session, handle: ObjectHandle) -> Result<Option<Vec<u8>>, TokenError> {
    let attributes = session
        .get_attributes(handle, &[AttributeType::Value])
        .map_err(TokenError::call("reading a data object"))?;
    match attributes.into_iter().next() {
        Some(Attribute::Value(value)) => Ok(Some(value)),
        _ => Ok(None),
    }
}

fn find(session: &Session, label: &str) -> Result<Vec<ObjectHandle>, TokenError> {
    let template =
        [Attribute::Class(ObjectClass::DATA), Attribute::Label(label.as_bytes().to_vec())];
    session.find_objects(&template).map_err(TokenError::call("finding a data object"))
}
