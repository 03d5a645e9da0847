//! One logged-in session with one token, and all that hsmd asks of it.

use std::path::Path;

use cryptoki::object::ObjectClass;
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use hsmd_chain::{Digest, PublicKey, Signature, SigningInput};

use super::data::Handles;
use super::error::TokenError;
use super::generate::{self, Making};
use super::inventory::Inventory;
use super::keys::{self, KeyHandle};
use super::module::{ModuleEpoch, Modules};
use super::object::Object;
use super::{data, pin, slots, token_key};
use crate::config::TokenConfig;

/// A logged-in read-write session. Send but not Sync: one thread at a time.
#[derive(Debug)]
pub struct OpenToken {
    pub(super) module: ModuleEpoch,
    /// None once it is closed.
    session: Option<Session>,
    pub(super) key_label: String,
    pub(super) making: Making,
    pub(super) slot: Slot,
    serial: String,
    key: String,
}

impl OpenToken {
    /// Finds the configured token, opens a session and logs in, by the rule of `pin`.
    ///
    /// # Errors
    /// [`TokenError::Load`] for the module, [`TokenError::Absent`] or [`TokenError::Ambiguous`] for the
    /// token, what [`pin::login`] refuses, [`TokenError::Call`].
    pub fn open(
        modules: &Modules,
        config: &TokenConfig,
        state_dir: &Path,
    ) -> Result<Self, TokenError> {
        let module = modules.open(&config.module, config.initialize_args.as_deref())?;
        let calling = module.enter()?;
        let context = module.context();
        let (slot, info) = slots::find(context, config)?;
        let session =
            context.open_rw_session(slot).map_err(TokenError::call("opening a session"))?;
        pin::login(&session, &info, config, state_dir)?;
        drop(calling);
        Ok(Self {
            module,
            session: Some(session),
            key_label: config.key_label.clone(),
            making: Making { accept_extractable: config.accept_extractable },
            slot,
            serial: info.serial_number().to_owned(),
            key: token_key(&config.module, info.label(), info.serial_number()),
        })
    }

    /// The token's serial number.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// The token's key among all tokens: see [`token_key`].
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether a new object could get a handle that is in use.
    pub fn handles_are_stale(&self) -> bool {
        self.module.handles_are_stale()
    }

    /// All our keys.
    ///
    /// # Errors
    /// [`TokenError::Call`].
    pub fn inventory(&self) -> Result<Inventory, TokenError> {
        self.call(|session| Inventory::read(session, &self.key_label))
    }

    /// Makes the key pair with this sequence number and returns its public key.
    ///
    /// # Errors
    /// [`TokenError::IdTaken`], [`TokenError::Unguarded`], [`TokenError::Call`].
    pub fn generate(&self, sequence_number: u32) -> Result<PublicKey, TokenError> {
        let id = keys::id(sequence_number);
        self.call(|session| generate::generate(session, &self.key_label, &id, self.making))
    }

    /// Shows that the one private key with this CKA_ID signs for a public key that no event commits to
    /// yet.
    ///
    /// # Errors
    /// [`TokenError::Unproven`], [`TokenError::Call`].
    pub fn prove(
        &self,
        id: &[u8],
        key: &PublicKey,
        identity: Option<Digest>,
    ) -> Result<(), TokenError> {
        self.call(|session| {
            let meant = Object::key(ObjectClass::PRIVATE_KEY, &self.key_label, id);
            for handle in keys::with_id(session, &self.key_label, id, ObjectClass::PRIVATE_KEY)? {
                meant.expect(session, handle)?;
                if keys::proves(session, handle, key, identity)? {
                    return Ok(());
                }
            }
            Err(TokenError::Unproven { id: String::from_utf8_lossy(id).into() })
        })
    }

    /// Destroys all objects of ours with this CKA_ID, confirmed by a find.
    ///
    /// # Errors
    /// [`TokenError::NotDestroyed`] if an object is still there, [`TokenError::Call`].
    pub fn destroy(&self, id: &[u8]) -> Result<(), TokenError> {
        let destroyed = || self.module.note_destroyed();
        self.call(|session| keys::destroy(session, &self.key_label, id, destroyed))
    }

    /// Signs with a key that was found by [`sign_as`](Self::sign_as) in this session.
    ///
    /// # Errors
    /// [`TokenError::Call`], [`TokenError::Nonsense`] if what it returns is no signature.
    pub fn sign(&self, key: KeyHandle, input: &SigningInput) -> Result<Signature, TokenError> {
        self.call(|session| keys::sign(session, key.0, input))
    }

    /// Signs with the private key with this CKA_ID that belongs to a public key, and verifies what the
    /// token returned: so a handle is bound to its public key. `message` is what `input` was made of.
    ///
    /// # Errors
    /// [`TokenError::KeyMissing`] if no private key with this CKA_ID signs for the public key,
    /// [`TokenError::Call`].
    pub fn sign_as(
        &self,
        id: &[u8],
        key: &PublicKey,
        input: &SigningInput,
        message: &str,
    ) -> Result<(KeyHandle, Signature), TokenError> {
        self.call(|session| {
            let meant = Object::key(ObjectClass::PRIVATE_KEY, &self.key_label, id);
            for handle in keys::with_id(session, &self.key_label, id, ObjectClass::PRIVATE_KEY)? {
                meant.expect(session, handle)?;
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
    /// [`TokenError::Call`].
    pub fn public_keys(&self, id: &[u8]) -> Result<Vec<PublicKey>, TokenError> {
        self.call(|session| {
            keys::with_id(session, &self.key_label, id, ObjectClass::PUBLIC_KEY)?
                .into_iter()
                .map(|object| keys::public_key(session, object))
                .collect()
        })
    }

    /// Whether a key of ours has this CKA_ID.
    ///
    /// # Errors
    /// [`TokenError::Call`].
    pub fn holds_id(&self, id: &[u8]) -> Result<bool, TokenError> {
        self.call(|session| {
            let label = &self.key_label;
            let public = keys::with_id(session, label, id, ObjectClass::PUBLIC_KEY)?;
            let private = keys::with_id(session, label, id, ObjectClass::PRIVATE_KEY)?;
            Ok(!public.is_empty() || !private.is_empty())
        })
    }

    /// The public key of the one complete pair with this CKA_ID; `None` when there is none, or one
    /// part of it, or several.
    ///
    /// # Errors
    /// [`TokenError::Call`].
    pub fn complete_pair(&self, id: &[u8]) -> Result<Option<PublicKey>, TokenError> {
        self.call(|session| {
            let label = self.key_label.as_str();
            let public = keys::with_id(session, label, id, ObjectClass::PUBLIC_KEY)?;
            let private = keys::with_id(session, label, id, ObjectClass::PRIVATE_KEY)?;
            match (public.as_slice(), private.as_slice()) {
                ([public], [private]) => {
                    Object::key(ObjectClass::PRIVATE_KEY, label, id).expect(session, *private)?;
                    Object::key(ObjectClass::PUBLIC_KEY, label, id).expect(session, *public)?;
                    keys::public_key(session, *public).map(Some)
                }
                _ => Ok(None),
            }
        })
    }

    /// The data objects of ours with this label, newest knowledge not implied by their order.
    ///
    /// # Errors
    /// [`TokenError::Call`].
    pub fn read_data(&self, label: &str) -> Result<Vec<Vec<u8>>, TokenError> {
        self.call(|session| data::read(session, label))
    }

    /// Makes `value` the one data object of ours with this label: the new one is there before the old
    /// one goes.
    ///
    /// # Errors
    /// [`TokenError::Call`]: many tokens hold no data objects.
    pub fn write_data(&self, label: &str, value: &[u8]) -> Result<(), TokenError> {
        self.replace_data(label, value, |_| true)
    }

    /// Makes `value` a data object of ours with this label, then destroys the older ones that it
    /// `replaces`, judged by their values. It must replace itself.
    ///
    /// # Errors
    /// [`TokenError::Call`]: many tokens hold no data objects.
    pub fn replace_data(
        &self,
        label: &str,
        value: &[u8],
        replaces: impl Fn(&[u8]) -> bool,
    ) -> Result<(), TokenError> {
        let destroyed = || self.module.note_destroyed();
        self.call(|session| data::replace(session, label, value, replaces, destroyed))
    }

    /// Destroys the data objects with this label whose value is such a one.
    ///
    /// # Errors
    /// [`TokenError::Call`], [`TokenError::NotDestroyed`].
    pub fn destroy_data(
        &self,
        label: &str,
        which: impl Fn(&[u8]) -> bool,
    ) -> Result<(), TokenError> {
        let destroyed = || self.module.note_destroyed();
        self.call(|session| data::destroy(session, label, which, destroyed))
    }

    /// The handles of the data objects and private keys with this label, whatever they hold.
    ///
    /// # Errors
    /// [`TokenError::Call`].
    pub fn handles(&self, label: &str) -> Result<Handles, TokenError> {
        self.call(|session| data::handles(session, label))
    }

    /// Whether the module shows what other processes have made only after `C_Initialize`.
    pub fn hides_foreign_objects(&self) -> bool {
        self.module.hides_foreign_objects()
    }

    /// Logs out and closes the session.
    ///
    /// # Errors
    /// [`TokenError::Call`]; the session is gone all the same.
    pub fn close(mut self) -> Result<(), TokenError> {
        self.call(|session| session.logout().map_err(TokenError::call("logging out")))?;
        let _calling = self.module.enter()?;
        match self.session.take() {
            Some(session) => session.close().map_err(TokenError::call("closing the session")),
            None => Ok(()),
        }
    }

    /// Calls the module in this session, if it is still this session.
    pub(super) fn call<T>(
        &self,
        work: impl FnOnce(&Session) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let _calling = self.module.enter()?;
        let result = work(self.session.as_ref().ok_or(TokenError::Finalised)?);
        if let Err(TokenError::AnotherObject { .. }) = &result {
            self.module.note_handle_given_twice();
        }
        result
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
