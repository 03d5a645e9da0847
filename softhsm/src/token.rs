//! One logged-in session on a SoftHSM token, and the provisioning that comes before it.
//!
//! Key attributes are those of the daemon's own keys, so that a test can't tell a pair made here from
//! one that the daemon made.

use std::path::Path;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use serde::{Deserialize, Serialize};

use crate::object::id_bytes;
use crate::{Error, ObjectInfo, Selection};

/// DER of the object identifier of P-256 (prime256v1), for CKA_EC_PARAMS.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// What a token says of itself without a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenInfo {
    /// The token's label.
    pub label: String,
    /// The token's serial number.
    pub serial: String,
    /// A wrong user PIN was given since the last good login.
    pub user_pin_count_low: bool,
    /// The next wrong user PIN locks the token.
    pub user_pin_final_try: bool,
    /// The user PIN is locked.
    pub user_pin_locked: bool,
}

/// Makes the token and sets its PINs if that has not been done, and shows by a login that the user PIN
/// is right. Safe to repeat, also after a crash half-way. The process must have `SOFTHSM2_CONF` set.
pub fn provision(module: &Path, label: &str, pin: &AuthPin, so_pin: &AuthPin) -> Result<(), Error> {
    if !(1..=32).contains(&label.len()) {
        return Err(Error::MalformedLabel(label.to_owned()));
    }
    let context = initialise(module)?;
    let outcome = provision_slot(&context, label, pin, so_pin);
    finish(context, outcome)
}

fn provision_slot(
    context: &Pkcs11,
    label: &str,
    pin: &AuthPin,
    so_pin: &AuthPin,
) -> Result<(), Error> {
    let slot = match find_slot(context, label) {
        Err(Error::NoToken(_)) => {
            init_token(context, label, so_pin)?;
            find_slot(context, label)?
        }
        found => found?,
    };
    let token = context.get_token_info(slot).map_err(Error::module("read the token's state"))?;
    if !token.user_pin_initialized() {
        let session = context.open_rw_session(slot).map_err(Error::module("open a session"))?;
        session
            .login(UserType::So, Some(so_pin))
            .map_err(Error::module("log in with the SO PIN"))?;
        session.init_pin(pin).map_err(Error::module("set the user PIN"))?;
        session.logout().map_err(Error::module("log out"))?;
    }
    let session = context.open_ro_session(slot).map_err(Error::module("open a session"))?;
    session.login(UserType::User, Some(pin)).map_err(Error::module("log in with the user PIN"))?;
    session.logout().map_err(Error::module("log out"))
}

/// A new token in the slot that SoftHSM always keeps free for one.
fn init_token(context: &Pkcs11, label: &str, so_pin: &AuthPin) -> Result<(), Error> {
    let slots = context.get_slots_with_token().map_err(Error::module("list slots"))?;
    for slot in slots {
        let info = context.get_token_info(slot).map_err(Error::module("read a token's state"))?;
        if !info.token_initialized() {
            return context
                .init_token(slot, so_pin, label)
                .map_err(Error::module("initialise the token"));
        }
    }
    Err(Error::NoToken(label.to_owned()))
}

/// A logged-in session. [`Token::with`] is the way to one; nothing is kept between two of them.
#[derive(Debug)]
pub struct Token {
    session: Session,
}

impl Token {
    /// Logs in, does `work`, logs out and finalises the module, whatever the work's outcome. The
    /// process must have `SOFTHSM2_CONF` set.
    pub fn with<T>(
        module: &Path,
        label: &str,
        pin: &AuthPin,
        work: impl FnOnce(&Token) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let context = initialise(module)?;
        let outcome = find_slot(&context, label).and_then(|slot| {
            let session = context.open_rw_session(slot).map_err(Error::module("open a session"))?;
            session.login(UserType::User, Some(pin)).map_err(Error::module("log in"))?;
            let token = Token { session };
            let outcome = work(&token);
            token.session.logout().map_err(Error::module("log out"))?;
            outcome
        });
        finish(context, outcome)
    }

    /// Every object on the token that hsmd could have made, ordered by label, id and class.
    pub fn objects(&self) -> Result<Vec<ObjectInfo>, Error> {
        let handles = self
            .session
            .find_objects(&[Attribute::Token(true)])
            .map_err(Error::module("find objects"))?;
        let mut objects = Vec::with_capacity(handles.len());
        for handle in handles {
            objects.extend(ObjectInfo::read(&self.session, handle)?);
        }
        objects.sort();
        Ok(objects)
    }

    /// Makes a P-256 pair for a sequence number, also when there is one already, and describes its
    /// public half.
    pub fn generate(&self, label: &str, id: u32) -> Result<ObjectInfo, Error> {
        let common = [
            Attribute::Token(true),
            Attribute::Modifiable(false),
            Attribute::Label(label.as_bytes().to_vec()),
            Attribute::Id(id_bytes(id)?),
            Attribute::KeyType(KeyType::EC),
        ];
        let mut public = common.to_vec();
        public.extend([
            Attribute::Private(false),
            Attribute::Verify(true),
            Attribute::EcParams(P256.to_vec()),
        ]);
        let mut private = common.to_vec();
        private.extend([
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            Attribute::SignRecover(false),
            Attribute::Decrypt(false),
            Attribute::Unwrap(false),
            Attribute::Derive(false),
        ]);
        let (public, _) = self
            .session
            .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
            .map_err(Error::module("generate a key pair"))?;
        ObjectInfo::read(&self.session, public)?.ok_or(Error::NotP256)
    }

    /// Copies the selected objects: a duplicate of a pair, with the same key and attributes. Nothing
    /// can be changed in a copy of what is not modifiable.
    pub fn copy(&self, selection: &Selection) -> Result<usize, Error> {
        let handles = self.select(selection)?;
        for handle in &handles {
            self.session.copy_object(*handle, &[]).map_err(Error::module("copy an object"))?;
        }
        Ok(handles.len())
    }

    /// Destroys the selected objects and finds again to be sure; an empty selection is an error.
    pub fn destroy(&self, selection: &Selection) -> Result<usize, Error> {
        let handles = self.select(selection)?;
        for handle in &handles {
            self.session.destroy_object(*handle).map_err(Error::module("destroy an object"))?;
        }
        match selection.find(&self.session)?.len() {
            0 => Ok(handles.len()),
            left => Err(Error::NotDestroyed(left)),
        }
    }

    fn select(&self, selection: &Selection) -> Result<Vec<ObjectHandle>, Error> {
        let handles = selection.find(&self.session)?;
        if handles.is_empty() { Err(Error::NoObject) } else { Ok(handles) }
    }
}

impl TokenInfo {
    /// What the token with this label says of itself. No login, so a wrong PIN costs no try. The
    /// process must have `SOFTHSM2_CONF` set.
    pub fn read(module: &Path, label: &str) -> Result<Self, Error> {
        let context = initialise(module)?;
        let outcome = find_slot(&context, label).and_then(|slot| {
            let info =
                context.get_token_info(slot).map_err(Error::module("read the token's state"))?;
            Ok(Self {
                label: info.label().to_owned(),
                serial: info.serial_number().to_owned(),
                user_pin_count_low: info.user_pin_count_low(),
                user_pin_final_try: info.user_pin_final_try(),
                user_pin_locked: info.user_pin_locked(),
            })
        });
        finish(context, outcome)
    }
}

fn initialise(module: &Path) -> Result<Pkcs11, Error> {
    let context = Pkcs11::new(module).map_err(Error::module("load"))?;
    context
        .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        .map_err(Error::module("initialise"))?;
    Ok(context)
}

/// The work's own error counts more than one of the clean-up.
fn finish<T>(context: Pkcs11, outcome: Result<T, Error>) -> Result<T, Error> {
    let finalised = context.finalize().map_err(Error::module("finalise"));
    let value = outcome?;
    finalised.map(|()| value)
}

fn find_slot(context: &Pkcs11, label: &str) -> Result<Slot, Error> {
    let mut found = Vec::new();
    for slot in context.get_slots_with_initialized_token().map_err(Error::module("list slots"))? {
        let info = context.get_token_info(slot).map_err(Error::module("read a token's state"))?;
        if info.label() == label {
            found.push(slot);
        }
    }
    match found.as_slice() {
        [slot] => Ok(*slot),
        [] => Err(Error::NoToken(label.to_owned())),
        _ => Err(Error::AmbiguousLabel { label: label.to_owned(), count: found.len() }),
    }
}
