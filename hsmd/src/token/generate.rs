//! Making a key pair: with templates as small as the standard allows, only where nothing has its
//! CKA_ID, and looked at afterwards.

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use hsmd_chain::PublicKey;

use super::error::TokenError;
use super::keys;
use super::object::Object;

/// DER of the object identifier of P-256 (1.2.840.10045.3.1.7), the value of CKA_EC_PARAMS.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// How pairs are made on a token.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Making {
    /// Whether a key is taken that the token reports as one that could leave it.
    pub(super) accept_extractable: bool,
}

/// The handles of a pair that was just made.
#[derive(Clone, Copy, Debug)]
struct Made {
    public: ObjectHandle,
    private: ObjectHandle,
}

/// The attributes that a pair is asked for. Some modules refuse what others need: tpm2-pkcs11 refuses
/// CKA_DECRYPT=false beside CKA_VERIFY=true, network HSMs CKA_PRIVATE=false on a public key.
struct Templates {
    public: Vec<Attribute>,
    private: Vec<Attribute>,
}

impl Templates {
    /// What the standard needs and what our safety needs.
    fn full(label: &str, id: &[u8]) -> Self {
        let ours = ours(label, id);
        let ec = [Attribute::EcParams(P256.to_vec())];
        let private = [
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Modifiable(false),
            Attribute::Sign(true),
        ];
        Self {
            public: [&ours[..], &ec[..], &[Attribute::Verify(true)]].concat(),
            private: [&ours[..], &private[..]].concat(),
        }
    }

    /// What no module can do without, for one that refused the full ones.
    fn smallest(label: &str, id: &[u8]) -> Self {
        let ours = ours(label, id);
        let guards = [Attribute::Sensitive(true), Attribute::Extractable(false)];
        Self {
            public: [&ours[..], &[Attribute::EcParams(P256.to_vec())]].concat(),
            private: [&ours[..], &guards[..], &[Attribute::Sign(true)]].concat(),
        }
    }

    fn generate(&self, session: &Session) -> Result<(ObjectHandle, ObjectHandle), Error> {
        session.generate_key_pair(&Mechanism::EccKeyPairGen, &self.public, &self.private)
    }
}

fn ours(label: &str, id: &[u8]) -> [Attribute; 3] {
    [
        Attribute::Token(true),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(id.to_vec()),
    ]
}

/// Makes a pair, looks at what came of it, and returns its public key.
pub(super) fn generate(
    session: &Session,
    label: &str,
    id: &[u8],
    making: Making,
) -> Result<PublicKey, TokenError> {
    refuse_taken_id(session, id)?;
    let full = Templates::full(label, id);
    let (public, private) = match full.generate(session) {
        Err(error) if refuses_template(&error) => {
            tracing::info!(%error, "the token refused a template: trying once with a smaller one");
            refuse_taken_id(session, id)?;
            Templates::smallest(label, id).generate(session)
        }
        made => made,
    }
    .map_err(TokenError::call("making a key pair"))?;
    let made = Made { public, private };
    let looked = look(session, label, id, making, made);
    looked.and_then(|()| keys::public_key(session, public)).inspect_err(|_| {
        discard(session, label, id, made);
    })
}

/// Refuses a CKA_ID that any key has, whatever its label: NSS overwrites the old pair with the new one.
fn refuse_taken_id(session: &Session, id: &[u8]) -> Result<(), TokenError> {
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        let template = [Attribute::Class(class), Attribute::Id(id.to_vec())];
        let found = session.find_objects(&template).map_err(TokenError::call("finding a key"))?;
        if let Some(handle) = found.first() {
            let found = Object::read(session, *handle)?;
            return Err(TokenError::IdTaken {
                id: String::from_utf8_lossy(id).into(),
                by: found.to_string(),
            });
        }
    }
    Ok(())
}

fn refuses_template(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::TemplateInconsistent | RvError::AttributeValueInvalid | RvError::GeneralError,
            _
        )
    )
}

/// Whether the handles mean what was made, and whether the private key is guarded as it has to be.
fn look(
    session: &Session,
    label: &str,
    id: &[u8],
    making: Making,
    made: Made,
) -> Result<(), TokenError> {
    for (handle, class) in
        [(made.private, ObjectClass::PRIVATE_KEY), (made.public, ObjectClass::PUBLIC_KEY)]
    {
        let found = Object::key(class, label, id).found_at(session, handle)?;
        let same = found.class == class && found.label == label.as_bytes();
        match found.id {
            Some(found_id) if same && found_id == id => {}
            // The object is ours: the token has changed its id.
            Some(found_id) if same && id.starts_with(&found_id) => {
                return Err(TokenError::IdChanged {
                    id: String::from_utf8_lossy(id).into(),
                    found: String::from_utf8_lossy(&found_id).into(),
                });
            }
            _ => Object::key(class, label, id).expect(session, handle)?,
        }
    }
    let asked = [AttributeType::Sensitive, AttributeType::Extractable, AttributeType::Local];
    let told = session
        .get_attributes(made.private, &asked)
        .map_err(TokenError::call("reading how a key is guarded"))?;
    let unguarded = told.into_iter().find(|attribute| {
        matches!(
            attribute,
            Attribute::Sensitive(false) | Attribute::Extractable(true) | Attribute::Local(false)
        )
    });
    match unguarded {
        None => Ok(()),
        Some(attribute) if making.accept_extractable => {
            tracing::warn!(
                ?attribute,
                "accepted a key that the token reports as one that may leave"
            );
            Ok(())
        }
        Some(attribute) => Err(TokenError::Unguarded(format!("{attribute:?}"))),
    }
}

/// Destroys a pair that was just made and can't be used. Its handles came from the call that made it;
/// they are used only if the private one still signs for the public key, which nothing else does.
fn discard(session: &Session, label: &str, id: &[u8], made: Made) {
    let shown = keys::public_key(session, made.public)
        .and_then(|key| keys::proves(session, made.private, &key, None));
    if !matches!(shown, Ok(true)) {
        tracing::warn!(?shown, "left a refused key pair on the token: its handles are not certain");
        return;
    }
    for handle in [made.private, made.public] {
        let destroyed = Object::read(session, handle).and_then(|object| {
            // Its id may have been cut, but no other key's id begins like it.
            let cut = object.id.as_deref().is_some_and(|found| id.starts_with(found));
            let ours = cut && object.label == label.as_bytes();
            if ours { object.destroy(session, handle) } else { Ok(()) }
        });
        if let Err(error) = destroyed {
            tracing::warn!(%error, "left a refused key on the token");
        }
    }
}
