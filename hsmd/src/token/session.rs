//! One logged-in session with one token, and all that hsmd asks of it.

use std::path::Path;

use cryptoki::context::Pkcs11;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::{Slot, TokenInfo};
use hsmd_chain::{PublicKey, Signature, SigningInput};

use super::error::TokenError;
use super::inventory::Inventory;
use super::keys::{self, KeyHandle};
use super::module::{ModuleEpoch, Modules};
use super::pin;
use crate::config::TokenConfig;

/// A logged-in read-write session. Send but not Sync: one thread at a time.
#[derive(Debug)]
pub struct OpenToken {
    module: ModuleEpoch,
    /// None once it is closed.
    session: Option<Session>,
    key_label: String,
    serial: String,
}

impl OpenToken {
    /// Finds the configured token, opens a session and logs in, by the rule of `pin`.
    ///
    /// # Errors
    /// The module or the token can't be reached, or the PIN can't or may not be used.
    pub fn open(
        modules: &Modules,
        config: &TokenConfig,
        state_dir: &Path,
    ) -> Result<Self, TokenError> {
        let module = modules.open(&config.module)?;
        let calling = module.enter()?;
        let context = module.context();
        let (slot, info) = find(context, config)?;
        let session =
            context.open_rw_session(slot).map_err(TokenError::call("opening a session"))?;
        pin::login(&session, &info, &config.pin_file, state_dir)?;
        drop(calling);
        Ok(Self {
            module,
            session: Some(session),
            key_label: config.key_label.clone(),
            serial: info.serial_number().to_owned(),
        })
    }

    /// The token's serial number.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// All our keys.
    ///
    /// # Errors
    /// A PKCS#11 call fails.
    pub fn inventory(&self) -> Result<Inventory, TokenError> {
        self.call(|session| Inventory::read(session, &self.key_label))
    }

    /// Makes the key pair with this sequence number and returns its public key.
    ///
    /// # Errors
    /// A PKCS#11 call fails.
    pub fn generate(&self, sequence_number: u32) -> Result<PublicKey, TokenError> {
        self.call(|session| keys::generate(session, &self.key_label, sequence_number))
    }

    /// Destroys all objects of ours with this CKA_ID, confirmed by a find.
    ///
    /// # Errors
    /// A PKCS#11 call fails or an object is still there.
    pub fn destroy(&self, id: &[u8]) -> Result<(), TokenError> {
        self.call(|session| keys::destroy(session, &self.key_label, id))
    }

    /// Signs with a key that was found by [`sign_as`](Self::sign_as) in this session.
    ///
    /// # Errors
    /// The PKCS#11 call fails or returns no signature.
    pub fn sign(&self, key: KeyHandle, input: &SigningInput) -> Result<Signature, TokenError> {
        self.call(|session| keys::sign(session, key.0, input))
    }

    /// Signs with the private key with this CKA_ID that belongs to a public key, and verifies what the
    /// token returned: so a handle is bound to its public key. `message` is what `input` was made of.
    ///
    /// # Errors
    /// No private key with this CKA_ID signs for the public key, or a PKCS#11 call fails.
    pub fn sign_as(
        &self,
        id: &[u8],
        key: &PublicKey,
        input: &SigningInput,
        message: &str,
    ) -> Result<(KeyHandle, Signature), TokenError> {
        self.call(|session| {
            for handle in keys::with_id(session, &self.key_label, id, ObjectClass::PRIVATE_KEY)? {
                let signature = keys::sign(session, handle, input)?;
                if key.verify(message.as_bytes(), &signature).is_ok() {
                    return Ok((KeyHandle(handle), signature));
                }
            }
            Err(TokenError::KeyMissing { public_key: key.to_string() })
        })
    }

    /// The public keys with this CKA_ID.
    ///
    /// # Errors
    /// A PKCS#11 call fails.
    pub fn public_keys(&self, id: &[u8]) -> Result<Vec<PublicKey>, TokenError> {
        self.call(|session| {
            keys::with_id(session, &self.key_label, id, ObjectClass::PUBLIC_KEY)?
                .into_iter()
                .map(|object| keys::public_key(session, object))
                .collect()
        })
    }

    /// The public key of the one complete pair with this CKA_ID; `None` when there is none, or one
    /// part of it, or several.
    ///
    /// # Errors
    /// A PKCS#11 call fails.
    pub fn complete_pair(&self, id: &[u8]) -> Result<Option<PublicKey>, TokenError> {
        self.call(|session| {
            let label = self.key_label.as_str();
            let public = keys::with_id(session, label, id, ObjectClass::PUBLIC_KEY)?;
            let private = keys::with_id(session, label, id, ObjectClass::PRIVATE_KEY)?;
            match (public.as_slice(), private.as_slice()) {
                ([public], [_]) => keys::public_key(session, *public).map(Some),
                _ => Ok(None),
            }
        })
    }

    /// The data objects of ours with this label, newest knowledge not implied by their order.
    ///
    /// # Errors
    /// A PKCS#11 call fails.
    pub fn read_data(&self, label: &str) -> Result<Vec<Vec<u8>>, TokenError> {
        self.call(|session| {
            let mut values = Vec::new();
            for handle in data_objects(session, label)? {
                let attributes = session
                    .get_attributes(handle, &[AttributeType::Value])
                    .map_err(TokenError::call("reading a data object"))?;
                if let Some(Attribute::Value(value)) = attributes.into_iter().next() {
                    values.push(value);
                }
            }
            Ok(values)
        })
    }

    /// Makes `value` the one data object of ours with this label: the new one is there before the old
    /// one goes.
    ///
    /// # Errors
    /// A PKCS#11 call fails; many tokens hold no data objects.
    pub fn write_data(&self, label: &str, value: &[u8]) -> Result<(), TokenError> {
        let template = [
            Attribute::Class(ObjectClass::DATA),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Application(b"hsmd".to_vec()),
            Attribute::Label(label.as_bytes().to_vec()),
            Attribute::Value(value.to_vec()),
        ];
        self.call(|session| {
            let old = data_objects(session, label)?;
            session.create_object(&template).map_err(TokenError::call("writing a data object"))?;
            for handle in old {
                session
                    .destroy_object(handle)
                    .map_err(TokenError::call("destroying an old data object"))?;
            }
            Ok(())
        })
    }

    /// Logs out and closes the session.
    ///
    /// # Errors
    /// A PKCS#11 call fails; the session is gone all the same.
    pub fn close(mut self) -> Result<(), TokenError> {
        self.call(|session| session.logout().map_err(TokenError::call("logging out")))?;
        let _calling = self.module.enter()?;
        match self.session.take() {
            Some(session) => session.close().map_err(TokenError::call("closing the session")),
            None => Ok(()),
        }
    }

    /// Calls the module in this session, if it is still this session.
    fn call<T>(
        &self,
        work: impl FnOnce(&Session) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let _calling = self.module.enter()?;
        work(self.session.as_ref().ok_or(TokenError::Finalised)?)
    }
}

impl Drop for OpenToken {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        match self.module.enter() {
            Ok(_calling) => drop(session),
            // Closing it would close whatever session has got its handle since.
            Err(_) => std::mem::forget(session),
        }
    }
}

fn data_objects(session: &Session, label: &str) -> Result<Vec<ObjectHandle>, TokenError> {
    let template = [
        Attribute::Class(ObjectClass::DATA),
        Attribute::Application(b"hsmd".to_vec()),
        Attribute::Label(label.as_bytes().to_vec()),
    ];
    session.find_objects(&template).map_err(TokenError::call("finding a data object"))
}

/// The slot of the configured token, by label and serial, never by position.
fn find(context: &Pkcs11, config: &TokenConfig) -> Result<(Slot, TokenInfo), TokenError> {
    let slots = context.get_slots_with_token().map_err(TokenError::call("listing the slots"))?;
    let mut found = Vec::new();
    for slot in slots {
        let info = context
            .get_token_info(slot)
            .map_err(TokenError::call("reading a token's description"))?;
        let label = config.label.as_deref().is_none_or(|label| label == info.label());
        let serial = config.serial.as_deref().is_none_or(|serial| serial == info.serial_number());
        if info.token_initialized() && label && serial {
            found.push((slot, info));
        }
    }
    let name = config.name().to_owned();
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(TokenError::Absent { name, path: config.module.clone() }),
        count => Err(TokenError::Ambiguous { name, count }),
    }
}
