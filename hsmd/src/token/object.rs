//! Objects on the token: what one must be before it is destroyed.
//!
//! A handle is not proof of what it means: tpm2-pkcs11 up to 1.9 gives a new object a handle that is in
//! use once the lowest object was destroyed, and it then means the older one. So class, label and id are
//! read back from the handle immediately before each `C_DestroyObject`.

use cryptoki::error::RvError;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::error::TokenError;

/// What an object is by its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) class: ObjectClass,
    pub(super) label: Vec<u8>,
    /// CKA_ID; data objects have none.
    pub(super) id: Option<Vec<u8>>,
}

impl Object {
    /// A key with this label and CKA_ID.
    pub(super) fn key(class: ObjectClass, label: &str, id: &[u8]) -> Self {
        Self { class, label: label.as_bytes().to_vec(), id: Some(id.to_vec()) }
    }

    /// A data object with this label.
    pub(super) fn data(label: &str) -> Self {
        Self { class: ObjectClass::DATA, label: label.as_bytes().to_vec(), id: None }
    }

    /// What the handle means to the token now.
    pub(super) fn read(session: &Session, handle: ObjectHandle) -> Result<Self, TokenError> {
        let mut asked = vec![AttributeType::Class, AttributeType::Label];
        let attributes = session
            .get_attributes(handle, &asked)
            .map_err(TokenError::call("reading what a handle means"))?;
        let mut object = Self { class: ObjectClass::DATA, label: Vec::new(), id: None };
        for attribute in attributes {
            match attribute {
                Attribute::Class(class) => object.class = class,
                Attribute::Label(label) => object.label = label,
                _ => {}
            }
        }
        if object.class != ObjectClass::DATA {
            asked = vec![AttributeType::Id];
            let attributes = session
                .get_attributes(handle, &asked)
                .map_err(TokenError::call("reading what a handle means"))?;
            object.id = Some(match attributes.into_iter().next() {
                Some(Attribute::Id(id)) => id,
                _ => Vec::new(),
            });
        }
        Ok(object)
    }

    /// What a handle means that the token gave for this object a moment ago. One that means nothing is a
    /// mix-up of the module's, not a lost session.
    pub(super) fn found_at(
        &self,
        session: &Session,
        handle: ObjectHandle,
    ) -> Result<Self, TokenError> {
        Self::read(session, handle).map_err(|error| match error.rv() {
            Some(RvError::ObjectHandleInvalid) => self.mixed_up("no object".into()),
            _ => error,
        })
    }

    /// Refuses a handle that means something else.
    pub(super) fn expect(&self, session: &Session, handle: ObjectHandle) -> Result<(), TokenError> {
        let found = self.found_at(session, handle)?;
        if found == *self { Ok(()) } else { Err(self.mixed_up(found.to_string())) }
    }

    fn mixed_up(&self, found: String) -> TokenError {
        TokenError::AnotherObject { meant: self.to_string(), found }
    }

    /// Destroys the object behind a handle if it is this one.
    pub(super) fn destroy(
        &self,
        session: &Session,
        handle: ObjectHandle,
    ) -> Result<(), TokenError> {
        self.expect(session, handle)?;
        session.destroy_object(handle).map_err(|error| TokenError::NotDestroyed {
            what: self.to_string(),
            error: Some(error),
        })
    }
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let class = match self.class {
            ObjectClass::PRIVATE_KEY => "private key",
            ObjectClass::PUBLIC_KEY => "public key",
            ObjectClass::DATA => "data object",
            _ => "object of another class",
        };
        write!(f, "the {class} {:?}", String::from_utf8_lossy(&self.label))?;
        match &self.id {
            Some(id) => write!(f, " with CKA_ID {:?}", String::from_utf8_lossy(id)),
            None => Ok(()),
        }
    }
}
