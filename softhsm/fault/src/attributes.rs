//! The attributes that a template can be refused for, by the names of the specification.

use std::fmt;
use std::str::FromStr;

use cryptoki_sys::*;

/// An attribute in a template, with whatever value or with this boolean value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    pub(crate) attribute: CK_ATTRIBUTE_TYPE,
    pub(crate) value: Option<bool>,
}

/// The text is no such condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no attribute: give a name such as CKA_PRIVATE, or CKA_PRIVATE=true")]
pub struct UnknownAttribute(String);

impl FromStr for Condition {
    type Err = UnknownAttribute;

    fn from_str(text: &str) -> Result<Self, UnknownAttribute> {
        let (name, value) = match text.split_once('=') {
            None => (text, None),
            Some((name, "true")) => (name, Some(true)),
            Some((name, "false")) => (name, Some(false)),
            Some(_) => return Err(UnknownAttribute(text.to_owned())),
        };
        match NAMES.iter().find(|(known, _)| *known == name) {
            Some((_, attribute)) => Ok(Self { attribute: *attribute, value }),
            None => Err(UnknownAttribute(text.to_owned())),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, attribute)| *attribute == self.attribute);
        f.write_str(name.map_or("unknown", |(name, _)| name))?;
        match self.value {
            Some(value) => write!(f, "={value}"),
            None => Ok(()),
        }
    }
}

macro_rules! names {
    ($($attribute:ident,)*) => {
        const NAMES: &[(&str, CK_ATTRIBUTE_TYPE)] = &[$((stringify!($attribute), $attribute)),*];
    };
}

names! {
    CKA_CLASS, CKA_TOKEN, CKA_PRIVATE, CKA_LABEL, CKA_APPLICATION, CKA_VALUE, CKA_ID, CKA_SENSITIVE,
    CKA_EXTRACTABLE, CKA_MODIFIABLE, CKA_ENCRYPT, CKA_DECRYPT, CKA_WRAP, CKA_UNWRAP, CKA_SIGN,
    CKA_SIGN_RECOVER, CKA_VERIFY, CKA_DERIVE, CKA_EC_PARAMS, CKA_KEY_TYPE,
}
