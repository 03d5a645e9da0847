//! Data objects of ours: read, and replaced, the new one being there before the old one goes.

use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::error::TokenError;
use super::object::Object;

/// How often the objects are read again when another process has replaced one meanwhile.
pub(super) const READS: usize = 4;

/// The handles of the data objects and private keys with one label: as long as they are the same in one session, the
/// objects are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handles(Vec<u64>);

/// The handles of the data objects and private keys with this label.
pub(super) fn handles(session: &Session, label: &str) -> Result<Handles, TokenError> {
    let keys =
        [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(label.as_bytes().to_vec())];
    let mut found = find(session, label)?;
    found.extend(session.find_objects(&keys).map_err(TokenError::call("finding a key"))?);
    let mut handles: Vec<u64> = found.into_iter().map(|handle| handle.handle()).collect();
    handles.sort_unstable();
    Ok(Handles(handles))
}

/// The values of the data objects with this label, in no particular order.
pub(super) fn read(session: &Session, label: &str) -> Result<Vec<Vec<u8>>, TokenError> {
    Ok(objects(session, label)?.into_iter().map(|(_, value)| value).collect())
}

/// Makes `new` a data object with this label, then destroys the older ones that it `replaces`, judged by
/// their values. CKA_PRIVATE is not asked for: yubihsm_pkcs11 answers it with an error and keeps its lock,
/// and what is written here is public. `destroyed` is told of each old one that goes.
pub(super) fn replace(
    session: &Session,
    label: &str,
    new: &[u8],
    replaces: impl Fn(&[u8]) -> bool,
    destroyed: impl Fn(),
) -> Result<(), TokenError> {
    let template = [
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Value(new.to_vec()),
    ];
    let ours = Object::data(label);
    let found = objects(session, label)?;
    let made =
        session.create_object(&template).map_err(TokenError::call("writing a data object"))?;
    ours.expect(session, made)?;
    if found.iter().any(|(old, _)| *old == made) {
        let found = "an older one with the same label".into();
        return Err(TokenError::AnotherObject { meant: ours.to_string(), found });
    }
    for (old, _) in found.iter().filter(|(_, value)| replaces(value)) {
        ours.destroy(session, *old)?;
        destroyed();
    }
    let left = read(session, label)?;
    let replaced: Vec<_> = left.iter().filter(|value| replaces(value)).collect();
    match replaced.as_slice() {
        [left] if left.as_slice() == new => Ok(()),
        _ => Err(TokenError::Nonsense("another data object than the one just written")),
    }
}

/// Destroys the data objects with this label whose value is such a one; `destroyed` is told of each.
pub(super) fn destroy(
    session: &Session,
    label: &str,
    which: impl Fn(&[u8]) -> bool,
    destroyed: impl Fn(),
) -> Result<(), TokenError> {
    for (handle, _) in objects(session, label)?.iter().filter(|(_, value)| which(value)) {
        Object::data(label).destroy(session, *handle)?;
        destroyed();
    }
    Ok(())
}

/// The objects with this label and their values. One that another process destroys meanwhile is no error
/// of this session.
fn objects(session: &Session, label: &str) -> Result<Vec<(ObjectHandle, Vec<u8>)>, TokenError> {
    let mut reads = 0;
    loop {
        reads += 1;
        let mut objects = Vec::new();
        let mut read_all = || {
            for handle in find(session, label)? {
                let value = session.get_attributes(handle, &[AttributeType::Value])?;
                if let Some(Attribute::Value(value)) = value.into_iter().next() {
                    objects.push((handle, value));
                }
            }
            Ok(())
        };
        match read_all() {
            Ok(()) => return Ok(objects),
            Err(Failed::Reading(Error::Pkcs11(RvError::ObjectHandleInvalid, _)))
                if reads < READS => {}
            Err(Failed::Reading(error)) => {
                return Err(TokenError::call("reading a data object")(error));
            }
            Err(Failed::Finding(error)) => return Err(error),
        }
    }
}

enum Failed {
    Finding(TokenError),
    Reading(Error),
}

impl From<TokenError> for Failed {
    fn from(error: TokenError) -> Self {
        Self::Finding(error)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Reading(error)
    }
}

fn find(session: &Session, label: &str) -> Result<Vec<ObjectHandle>, TokenError> {
    let template =
        [Attribute::Class(ObjectClass::DATA), Attribute::Label(label.as_bytes().to_vec())];
    session.find_objects(&template).map_err(TokenError::call("finding a data object"))
}
