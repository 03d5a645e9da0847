//! What lies on a token, as the command prints it and [`crate::Tool`] reads it.

use clap::ValueEnum;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use hsmd_chain::cesr::PublicKey;
use serde::{Deserialize, Serialize};

use crate::Error;

/// The kinds of object that hsmd keeps on a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// CKO_PUBLIC_KEY.
    Public,
    /// CKO_PRIVATE_KEY.
    Private,
    /// CKO_DATA.
    Data,
}

/// One object on the token: one line of `hsmd-softhsm keys`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectInfo {
    /// CKA_LABEL.
    pub label: String,
    /// CKA_ID as text; absent from data objects. Bytes outside ASCII show as `\xff`.
    pub id: Option<String>,
    /// CKA_CLASS.
    pub class: Class,
    /// The key's CESR text; only public key objects tell it.
    pub public_key: Option<PublicKey>,
}

/// Which objects are meant: all of a label, or those of one sequence number, or one half of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// CKA_LABEL.
    pub label: String,
    /// The sequence number that CKA_ID holds; none means any CKA_ID.
    pub id: Option<u32>,
    /// The class; none means any.
    pub class: Option<Class>,
}

impl Selection {
    /// Both halves of the key pairs with this label and sequence number.
    pub fn pair(label: &str, id: u32) -> Self {
        Self { label: label.to_owned(), id: Some(id), class: None }
    }

    pub(crate) fn find(&self, session: &Session) -> Result<Vec<ObjectHandle>, Error> {
        let mut template =
            vec![Attribute::Token(true), Attribute::Label(self.label.clone().into_bytes())];
        if let Some(id) = self.id {
            template.push(Attribute::Id(id_bytes(id)?));
        }
        if let Some(class) = self.class {
            template.push(Attribute::Class(class.into()));
        }
        session.find_objects(&template).map_err(Error::module("find objects"))
    }
}

impl Class {
    /// The class's name on the command line and in the output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Data => "data",
        }
    }
}

impl From<Class> for ObjectClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Public => Self::PUBLIC_KEY,
            Class::Private => Self::PRIVATE_KEY,
            Class::Data => Self::DATA,
        }
    }
}

impl ObjectInfo {
    /// Reads an object's attributes; `None` for an object of a kind that hsmd never makes.
    pub(crate) fn read(session: &Session, object: ObjectHandle) -> Result<Option<Self>, Error> {
        let class = match attribute(session, object, AttributeType::Class)? {
            Some(Attribute::Class(ObjectClass::PUBLIC_KEY)) => Class::Public,
            Some(Attribute::Class(ObjectClass::PRIVATE_KEY)) => Class::Private,
            Some(Attribute::Class(ObjectClass::DATA)) => Class::Data,
            _ => return Ok(None),
        };
        let label = match attribute(session, object, AttributeType::Label)? {
            Some(Attribute::Label(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
            _ => String::new(),
        };
        let id = match attribute(session, object, AttributeType::Id)? {
            Some(Attribute::Id(bytes)) => Some(bytes.escape_ascii().to_string()),
            _ => None,
        };
        let public_key = match (class, attribute(session, object, AttributeType::EcPoint)?) {
            (Class::Public, Some(Attribute::EcPoint(point))) => Some(public_key(&point)?),
            _ => None,
        };
        Ok(Some(Self { label, id, class, public_key }))
    }
}

/// A sequence number as CKA_ID holds it: 8 ASCII digits.
pub(crate) fn id_bytes(id: u32) -> Result<Vec<u8>, Error> {
    if id > 99_999_999 { Err(Error::MalformedId(id)) } else { Ok(format!("{id:08}").into_bytes()) }
}

fn attribute(
    session: &Session,
    object: ObjectHandle,
    kind: AttributeType,
) -> Result<Option<Attribute>, Error> {
    let found =
        session.get_attributes(object, &[kind]).map_err(Error::module("read an attribute"))?;
    Ok(found.into_iter().next())
}

/// CKA_EC_POINT is a DER octet string of an uncompressed point (SoftHSM's form).
fn public_key(der: &[u8]) -> Result<PublicKey, Error> {
    let [0x04, 65, point @ ..] = der else { return Err(Error::NotP256) };
    PublicKey::from_sec1(point).map_err(|_| Error::NotP256)
}
